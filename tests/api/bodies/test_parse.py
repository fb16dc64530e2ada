"""Bodies become what json.loads() makes of them, whatever their size and encoding."""

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.api.bodies import parse as parsing
from server.api.bodies.count import LONG_DIGITS, MAX_DIGITS, MAX_LEVELS, MAX_LONG_NUMBERS
from server.api.bodies.parse import check, parse
from server.api.errors import ApiError
from tests.api.bodies.json_texts import TEXTS, WRITTEN

MANY = 10**9
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]
ENCODINGS += ["utf-32", "utf-32-le", "utf-32-be"]
SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 16, 1 << 17])


def outcome(body: bytes) -> Any:
    """The value of a body as text, as NaN is not equal to itself, or how it is refused."""
    try:
        copy = bytearray(body)
        check(copy, MANY, MANY)
        value = parse(copy)
        assert not copy
    except ApiError as error:
        return error.code, error.detail
    except RequestValidationError as error:
        (found,) = error.errors()
        return found["ctx"]["error"], found["loc"]
    return repr(value)


def expected(body: bytes) -> Any:
    try:
        return repr(json.loads(body))
    except json.JSONDecodeError as error:
        return error.msg, ("body", error.pos)
    except UnicodeDecodeError as error:
        found = (
            f"{error.encoding.upper()} (byte 0x{error.object[error.start]:02x} at {error.start})"
        )
        return "invalid_json", f"The body is not {found}; send it as UTF-8"


def outcome_in_pieces(body: bytes, size: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_PIECE", size)
        # Little bodies are read as all others.
        patch.setattr(parsing, "most_of_little", lambda *_: None)
        return outcome(body)


def padded(body: bytes) -> bytes:
    """As a client with much white space would write it."""
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        return body
    return body + b" \n\t\r" * 100_000


def encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(WRITTEN, st.sampled_from(ENCODINGS), SIZES)
@example('"a\ud800\udc00b\ud83d\ude00"', "utf-8", 1)
@example('"\ud83d\ude00\ud83d"', "utf-16-le", 2)
@example("1", "utf-16-le", 1)
@example('""', "utf-16", 1)
def test_a_body_is_what_json_makes_of_it(text: str, encoding: str, size: int) -> None:
    body = encoded(text, encoding)
    assert outcome(body) == outcome_in_pieces(body, size) == expected(body)


@settings(max_examples=60, deadline=None)
@given(WRITTEN)
def test_white_space_changes_nothing(text: str) -> None:
    body = encoded(text, "utf-8")
    assert outcome(padded(body)) == outcome(body)
    assert outcome(b" " * 300_000 + body) == outcome(body)


@settings(max_examples=300, deadline=None)
@given(
    WRITTEN.flatmap(lambda text: st.tuples(st.just(text), st.integers(0, len(text)))),
    st.sampled_from(ENCODINGS),
    st.binary(max_size=3) | TEXTS.map(lambda text: encoded(text, "utf-8")),
    SIZES,
)
def test_what_is_broken_is_refused_as_json_refuses_it(
    cut: tuple[str, int], encoding: str, more: bytes, size: int
) -> None:
    text, at = cut
    for body in (encoded(text[:at], encoding), encoded(text[:at], encoding) + more):
        if body:
            assert outcome(body) == outcome_in_pieces(body, size) == expected(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=24), SIZES)
@example(b'"\xed\xa0\x80"', 2)
@example(b'"\xed\xa0"', 1)
@example(b'"\xf0\x9f\x98"', 3)
@example(b'"\x80\x80\x80\x80\x80"', 2)
@example(b"\xef\xbb\xbf\xef\xbb\xbf1", 1)
@example(b"\xef\xbb\xbf", 1)
@example(b"\xff\xfe", 1)
@example(b"\x00", 1)
def test_no_bytes_are_read_otherwise_than_by_json(body: bytes, size: int) -> None:
    assert outcome(body) == outcome_in_pieces(body, size) == expected(body)


@pytest.mark.parametrize("text", ["é", "漢", "😀", "\ud800", "\udfff\ud800", "\x7f\x80߿ࠀ￿"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_character_may_be_cut_anywhere(text: str, encoding: str) -> None:
    body = encoded(json.dumps(["a" + text, text], ensure_ascii=False), encoding)
    wanted = repr(json.loads(body))
    for size in range(1, len(body) + 1):
        assert outcome_in_pieces(body, size) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "b": 2, "a": {"a": 3, "a": 4}}',
        b"[NaN, Infinity, -Infinity, 1e999, -1e999, -0, -0.0, 1E5, 123456789012345678901234567890]",
        b"  17  ",
        b'"a"',
        b"null",
        b"nul",
        b"[1,]",
        b'{"a"}',
        b"{'a': 1}",
        b'"\n"',
        b'"\\x"',
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b"01",
        b"1.",
        b"--1",
        b"[1] [2]",
        b'"a',
        b" ",
    ],
)
def test_small_and_large_are_read_the_same(body: bytes) -> None:
    assert outcome(body) == expected(body)
    for size in (1, 2, 3):
        assert outcome_in_pieces(body, size) == expected(body)
    assert outcome(b" " * 300_000 + body)[0] == outcome(body)[0]  # the place is another


LONG = b"1" * (LONG_DIGITS + 1)
TOO_MUCH = {
    b"[" * (MAX_LEVELS + 1) + b"]" * (MAX_LEVELS + 1): ("invalid_json", f"{MAX_LEVELS} levels"),
    b'{"a":' * (MAX_LEVELS + 1) + b"1": ("invalid_json", f"{MAX_LEVELS} levels"),
    b"[" + b"1" * (MAX_DIGITS + 1) + b"]": ("invalid_json", f"{MAX_DIGITS} characters"),
    b"[" + b"%b," % LONG * MAX_LONG_NUMBERS + b"%b]" % LONG: (
        "invalid_json",
        f"{MAX_LONG_NUMBERS} of more than {LONG_DIGITS}",
    ),
    b"[" + b"[]," * 1000 + b"[]]": ("request_too_large", "http.max_body_values"),
    b"[" + b"1," * 5000 + b"1]": ("request_too_large", "http.max_body_values"),
}


@pytest.mark.parametrize("body", TOO_MUCH, ids=str)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("pad", [0, 20_000, 400_000])
def test_too_much_is_refused_the_same_in_any_size_and_encoding(
    body: bytes, encoding: str, pad: int
) -> None:
    code, part = TOO_MUCH[body]
    text = encoded(body.decode() + " " * pad, encoding)
    with pytest.raises(ApiError) as refused:
        check(bytearray(text), 1000, 4000)
    assert refused.value.code == code
    assert part in str(refused.value.detail)
    assert str(refused.value.detail).startswith("The body ")
    with pytest.raises(ApiError, match="The line "):
        check(text, 1000, 4000, "The line")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MAX_LEVELS + b"]" * MAX_LEVELS,
        b"[" + b"1" * MAX_DIGITS + b"]",
        b"[" + b"%b," % LONG * (MAX_LONG_NUMBERS - 1) + b"%b]" % LONG,
        b"[" + b"[]," * 998 + b"[]]",
        b"[" + b"1," * 4999 + b"1]",
    ],
    ids=str,
)
def test_what_is_just_within_a_bound_is_read(body: bytes) -> None:
    for text in (body, padded(body)):
        check(bytearray(text), 1000, 4000)
        assert parse(bytearray(text)) == json.loads(body)
