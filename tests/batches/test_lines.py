"""Input files, right and wrong: each line is checked, and nothing that is in one does harm."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batches.lines import (
    MAX_CUSTOM_ID,
    MAX_ERRORS,
    Checked,
    InvalidLineError,
    LineReader,
)
from tests.batches.stored import ENDPOINT, no_bound, request

MOST_LINES, MOST_BYTES = 50, 600
READER = LineReader(ENDPOINT, MOST_LINES, MOST_BYTES, no_bound)


def check(content: bytes, reader: LineReader = READER) -> Checked:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.jsonl"
        path.write_bytes(content)
        found = reader.check(path, lambda: False)
        if not found.errors:
            lines = [reader.read(path, place) for place in reader.missing(path, ())]
            assert len(lines) == found.total
            assert all(json.loads(line.body).keys() is not None for line in lines)
        return found


def changed(**changes: object) -> bytes:
    """A line with other fields; None leaves one out."""
    fields = json.loads(request("a", prompt="x")) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (b"\xef\xbb\xbf" + request("a"), "invalid_json_line", None),
        (request("a")[:-1] + b"x", "invalid_json_line", None),
        (b"[]", "invalid_value", None),
        (b"{}", "missing_required_parameter", None),
        (changed(body=None), "missing_required_parameter", None),
        (changed(custom_id=1), "invalid_value", None),
        (changed(custom_id=""), "invalid_custom_id", "custom_id"),
        (changed(custom_id="x" * (MAX_CUSTOM_ID + 1)), "invalid_custom_id", "custom_id"),
        (changed(method="GET"), "invalid_method", "method"),
        (changed(url="/v1/chat/completions"), "mismatched_url", "url"),
        (changed(body=[]), "invalid_value", "body"),
        (changed(body="{}"), "invalid_value", "body"),
        (changed(body={"stream": True}), "unsupported_parameter", "body.stream"),
        (changed(body={"stream": 1}), "unsupported_parameter", "body.stream"),
        (changed(body={"prompt": "x" * MOST_BYTES}), "line_too_large", None),
        (b'{"custom_id":"a","body":' + b"[" * 500, "invalid_json_line", None),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_number(
    text: bytes, code: str, param: str | None
) -> None:
    found = check(request("first") + b"\n" + text + b"\n" + request("last"))
    (error,) = found.errors
    assert (error.line, error.code, error.param) == (3, code, param)
    assert error.message
    assert "\n" not in error.message
    assert found.total == 3


def test_right_lines_have_their_numbers_bodies_and_model(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    a = request("a", prompt="x", model="m", stream=False)
    b = request("b", prompt=[1, 2.50], model="m", stream=None)
    path.write_bytes(a + b"\r\n \t\n" + b.rstrip())
    assert READER.check(path, lambda: False) == (2, "m", [])
    lines = [READER.read(path, place) for place in READER.missing(path, ())]
    assert [(line.number, line.custom_id) for line in lines] == [(1, "a"), (4, "b")]
    assert lines[1].body == b'{"prompt": [1, 2.5], "model": "m", "stream": null}'
    assert [line.number for line in READER.missing(path, {1})] == [4]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    mark, line = b"\xef\xbb\xbf", request("a", prompt="x")
    assert check(mark + line) == check(line)
    assert check(mark).errors[0].code == check(mark + b"\n \n").errors[0].code == "empty_file"
    assert check(mark + b"\n" + line).errors == []
    assert check(line + b"\n" + mark + line).errors[0].line == 3
    path = tmp_path / "in"
    path.write_bytes(mark + line)
    assert [READER.read(path, place).custom_id for place in READER.missing(path, ())] == ["a"]


def test_what_has_too_much_in_it_is_not_read(tmp_path: Path) -> None:
    read: list[bytes] = []

    def check_size(text: bytes) -> None:
        if b"much" in text:
            raise InvalidLineError("line_too_large", "Too much")
        read.append(text)

    reader = LineReader(ENDPOINT, MOST_LINES, MOST_BYTES, check_size)
    path = tmp_path / "in.jsonl"
    # Nobody has found that the second is no JSON.
    path.write_bytes(request("a") + b"{much\n" + b"much" * MOST_BYTES)
    found = reader.check(path, lambda: False)
    assert [(error.line, str(error.message)) for error in found.errors] == [
        (2, "Too much"),
        (3, f"The line has more than {MOST_BYTES} bytes"),
    ]
    assert read == [request("a")]


def test_lines_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [request("a"), b"\n", request("é", prompt="é" * 50), b" \r\n", request("z")[:-1]]
    path.write_bytes(b"".join(lines))
    places = list(READER.missing(path, ()))
    assert [place.number for place in places] == [1, 3, 5]
    content = path.read_bytes()
    for place, line in zip(places, lines[::2], strict=True):
        assert content[place.start : place.start + place.size] == line
    path.write_bytes(content.replace(b"custom_id", b"custom_ix"))
    with pytest.raises(InvalidLineError):
        READER.read(path, places[1])
    path.write_bytes(b"")
    with pytest.raises(InvalidLineError):
        READER.read(path, places[2])


def test_a_model_is_told_only_if_all_lines_name_it() -> None:
    assert check(request("a", model="m") + request("b", model="n")).model == ""
    assert check(request("a", model="m") + request("b", model=3)).model == ""


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_an_error_of_the_whole_file(content: bytes) -> None:
    found = check(content)
    assert [(error.code, error.line) for error in found.errors] == [("empty_file", None)]


def test_too_many_lines_and_too_many_errors_end_the_reading() -> None:
    found = check(b"".join(request(f"{n}") for n in range(2 * MOST_LINES)))
    assert [error.code for error in found.errors] == ["too_many_requests"]
    assert found.total == MOST_LINES + 1
    reader = LineReader(ENDPOINT, 10 * MAX_ERRORS, MOST_BYTES, no_bound)
    assert len(check(b"x\n" * 5 * MAX_ERRORS, reader).errors) == MAX_ERRORS


def test_a_check_that_is_stopped_reads_no_further(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(request("a") * 9)
    assert READER.check(path, lambda: True).total == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
LINES = st.lists(
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(request, st.text(max_size=3), prompt=JSON)
    | st.dictionaries(
        st.sampled_from(["custom_id", "method", "url", "body"]), JSON | st.just(ENDPOINT)
    ).map(lambda changes: changed(**changes)),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(LINES)
def test_no_file_breaks_the_reader(lines: list[bytes]) -> None:
    found = check(b"\n".join(lines))
    assert found.errors == [] or all(error.message for error in found.errors)
    assert len(found.errors) <= MAX_ERRORS
