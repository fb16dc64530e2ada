"""What a JSON text has is counted exactly, wherever it is cut; nothing slips by uncounted."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.api.bodies.count import (
    LONG_DIGITS,
    MAX_DIGITS,
    MAX_LEVELS,
    MAX_LONG_NUMBERS,
    MAX_NUMBERS,
    Counter,
    LongNumberError,
    TooDeepError,
    TooManyValuesError,
    most_of_little,
)
from tests.api.bodies.json_texts import WRITTEN, split

MANY = 10**9


class _Fraction:
    """A number with a fraction or an exponent."""


def naive_counts(text: str) -> tuple[int, int]:
    """Values and items, by a walk over what the parser makes; it keeps fields that come twice."""
    decoder = json.JSONDecoder(
        object_pairs_hook=lambda pairs: dict(enumerate(pairs)),
        parse_float=lambda _: _Fraction(),
        parse_constant=lambda _: None,
    )
    values = items = 0
    waiting: list[Any] = [decoder.decode(text)]
    while waiting:
        value = waiting.pop()
        values += isinstance(value, str | list | dict | _Fraction)
        if isinstance(value, list):
            items += max(1, len(value))
            waiting += value
        elif isinstance(value, dict):
            items += max(1, len(value))
            waiting += [each for pair in value.values() for each in pair]
    return values, items


def naive_bounds(text: str) -> tuple[int, list[int]]:
    """The deepest level, and the lengths of all numbers, character by character."""
    level = deepest = 0
    lengths, in_string, escaped = [0], False, False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = not escaped and character == "\\"
            continue
        in_string = character == '"'
        level += (character in "[{") - (character in "]}")
        deepest = max(deepest, level)
        if character in "0123456789+-.eE":
            lengths[-1] += 1
        else:
            lengths.append(0)
    return deepest, lengths


def counted(pieces: list[bytes], values: int = MANY, numbers: int = MANY) -> Counter:
    counter = Counter(values, numbers)
    for piece in pieces:
        counter.add(np.frombuffer(piece, np.uint8))
    return counter


def refusal(pieces: list[bytes], values: int = MANY, numbers: int = MANY) -> type[Exception] | None:
    try:
        counted(pieces, values, numbers)
    except ValueError as error:
        return type(error)
    return None


def in_two(text: bytes) -> list[list[bytes]]:
    """The text whole, and cut at every place."""
    return [[text], *([text[:at], text[at:]] for at in range(1, len(text)))]


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=200, deadline=None)
@given(WRITTEN, st.lists(st.integers(1, 9), min_size=1, max_size=4))
@example(r'["\\\\\\", "\\\"", "\\\\u0022", "\"\\"]', [1])
@example('[1.5e3, true, false, 1e5, -0.0, NaN, -Infinity, "1.5", 1]', [2])
@example('{"a": {}, "a": [[], {}], "": ""}', [3])
def test_it_counts_what_a_parser_makes_in_pieces_of_any_size(text: str, sizes: list[int]) -> None:
    whole = utf8(text)
    for pieces in ([whole], split(whole, sizes), split(whole, [1]), [b"", whole, b""]):
        found = counted(pieces)
        assert (found.values, found.items) == naive_counts(text)
        assert found.level == 0


@pytest.mark.parametrize(
    "text",
    [
        r'["\\", "\"", "\\\"", "\\\\", "\\\\\"", "a\\"]',
        '{"\\u0022": "\\u005c", "\\\\": ["\\"[{,1.5e5"]}',
        "[1.25e-3, 1e5, true, false, null, 17, -2.5, NaN, Infinity, -0]",
        '{"a": [[[{}]], {"b": {"c": []}}], "a": 0.5}',
        '"1.5"',
        "1.5",
        "true",
    ],
)
def test_a_cut_at_any_place_changes_nothing(text: str) -> None:
    for pieces in in_two(text.encode()):
        found = counted(pieces)
        assert (found.values, found.items) == naive_counts(text), pieces


@settings(max_examples=150, deadline=None)
@given(WRITTEN, st.integers(1, 9), st.integers(-1, 1))
def test_exactly_what_is_over_a_bound_is_refused(text: str, size: int, beyond: int) -> None:
    values, items = naive_counts(text)
    pieces = split(utf8(text), [size])
    wanted = TooManyValuesError if beyond < 0 else None
    assert refusal(pieces, values + beyond) == wanted
    assert refusal(pieces, values, items - values + beyond) == wanted


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["[", "]", "{", "}", '"[[["', ",", "1"]), max_size=40),
    st.integers(1, 9),
    st.integers(1, 6),
)
def test_the_deepest_level_counts_wherever_it_is(parts: list[str], size: int, levels: int) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.api.bodies.count.MAX_LEVELS", levels)
        wanted = TooDeepError if naive_bounds(text)[0] > levels else None
        assert refusal(split(text.encode(), [size])) == wanted


@pytest.mark.parametrize("form", ["[", '{"a":'])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_nesting_ends_at_its_bound(form: str, size: int) -> None:
    close = "]" if form == "[" else "}"
    for levels, wanted in ((MAX_LEVELS, None), (MAX_LEVELS + 1, TooDeepError)):
        text = form * levels + "1" + close * levels
        # Before it and after it, lists that are closed do not count.
        for around in (text, f"[[],[[]],{text[1:-1] if form == '[' else '1'}]"):
            if naive_bounds(around)[0] == levels:
                assert refusal(split(around.encode(), [size])) == wanted


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "-", "0.", "1e", '"', "x"]), st.integers(0, 14)), max_size=9
    ),
    st.integers(1, 9),
)
def test_numbers_are_as_long_as_they_are(parts: list[tuple[str, int]], size: int) -> None:
    text = ",".join(
        f"{begin}{'7' * digits}{'' if begin != chr(34) else chr(34)}" for begin, digits in parts
    )
    text += ","  # what goes on may still become long
    lengths = naive_bounds(text)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.api.bodies.count.LONG_DIGITS", 5)
        patch.setattr("server.api.bodies.count.MAX_LONG_NUMBERS", 2)
        patch.setattr("server.api.bodies.count.MAX_DIGITS", 10)
        is_wrong = max(lengths) > 10 or sum(each > 5 for each in lengths) > 2
        assert refusal(split(text.encode(), [size])) == (LongNumberError if is_wrong else None)


@pytest.mark.parametrize("begin", ["", "-", "0.", "1e", "1.5e+"])
@pytest.mark.parametrize("size", [1, 400, MAX_DIGITS - 1, MAX_DIGITS, MAX_DIGITS + 1, 1 << 20])
def test_a_number_ends_at_its_bound_also_across_pieces(begin: str, size: int) -> None:
    for characters, wanted in ((MAX_DIGITS, None), (MAX_DIGITS + 1, LongNumberError)):
        number = begin + "1" * (characters - len(begin))
        for text in (number, f"[{number}]", f"[0,{number},0]", f'{{"a":{number}}}'):
            assert refusal(split(text.encode(), [size])) == wanted
    assert refusal([b'"' + b"1" * 9 * MAX_DIGITS + b'"']) is None


def test_few_numbers_may_be_long() -> None:
    long = "1" * (LONG_DIGITS + 1)
    for count, wanted in ((MAX_LONG_NUMBERS, None), (MAX_LONG_NUMBERS + 1, LongNumberError)):
        text = "[" + ",".join([long] * count) + "]"
        for size in (100, 401, 1 << 20):
            assert refusal(split(text.encode(), [size])) == wanted
    assert refusal([f"[{','.join(['1' * LONG_DIGITS] * 999)}]".encode()]) is None


SLIPS = {
    "strings": '"a"',
    "empty strings": '""',
    "objects": "{}",
    "lists": "[]",
    "lists of one": "[1]",
    "fractions": "1.5",
    "exponents": "1e5",
    "fields": '{"a":1}',
    "escaped quotes": r'"\""',
    "escaped backslashes": r'"\\"',
}
NUMBERS = {"numbers": "7", "booleans": "true", "nulls": "null", "constants": "NaN"}


@pytest.mark.parametrize("item", SLIPS.values(), ids=SLIPS)
@pytest.mark.parametrize("size", [64, 1 << 16])
def test_no_kind_of_value_slips_by(item: str, size: int) -> None:
    each, _ = naive_counts(item)
    text = ("[" + ",".join([item] * 1000) + "]").encode()
    assert refusal(split(text, [size]), 1000 * each + 1) is None
    assert refusal(split(text, [size]), 1000 * each) is TooManyValuesError


@pytest.mark.parametrize("item", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("size", [64, 1 << 16])
def test_numbers_and_names_have_a_bound_of_their_own(item: str, size: int) -> None:
    for text in (f"[{','.join([item] * 1000)}]", "{" + ",".join([f'"a":{item}'] * 1000) + "}"):
        values, items = naive_counts(text)
        pieces = split(text.encode(), [size])
        assert items == 1000
        assert refusal(pieces, values, 1000 - values) is None
        assert refusal(pieces, values, 999 - values) is TooManyValuesError
    assert MAX_NUMBERS >= 1_000_000  # a prompt of that many ids


@settings(max_examples=150, deadline=None)
@given(WRITTEN, st.integers(0, 60))
def test_what_seems_to_be_little_is_within_all_bounds(text: str, max_values: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, bound in (("MAX_LEVELS", 3), ("LONG_DIGITS", 8), ("MAX_DIGITS", 10)):
            patch.setattr(f"server.api.bodies.count.{name}", bound)
        most = most_of_little(utf8(text), max_values)
        if most is not None:
            assert refusal([utf8(text)], max_values, 0) is None
            values, items = naive_counts(text)
            fractions = text.count(".") + text.lower().count("e")
            assert most[0] + fractions >= values
            assert most[1] >= items


def test_ordinary_requests_are_little() -> None:
    message = {"role": "user", "content": 'Say "Hello" to the world, 3 times. ' * 5}
    body = json.dumps({"messages": [message] * 20, "max_tokens": 256, "temperature": 0.7})
    assert most_of_little(body.encode(), 100_000) is not None
    assert most_of_little(b"[" * (MAX_LEVELS + 1), 100_000) is None
    assert most_of_little(b"1" * LONG_DIGITS, 100_000) is None
    assert most_of_little(b" " * 100_001, 100_000) is None
