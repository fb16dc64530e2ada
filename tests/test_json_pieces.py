"""JSON in pieces is the JSON that it would be as a whole."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from server.json_pieces import (
    PIECE_BYTES,
    JsonDocument,
    JsonList,
    JsonText,
    encode_json,
    encode_pieces,
    grouped,
)

TEXTS = st.text(max_size=9) | st.sampled_from(["\0", '"', "\\", "é\n", "x" * 20_000, "雪" * 70_000])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def cut(value: Any, draw: Any) -> Any:
    """The same value, some of whose parts are in pieces."""
    if isinstance(value, dict):
        return {name: cut(each, draw) for name, each in value.items()}
    kind = draw(st.sampled_from(["plain", "pieces", "document"]))
    if kind == "plain":
        return [cut(each, draw) for each in value] if isinstance(value, list) else value
    if kind == "document":
        document = msgspec.json.encode(value)
        return JsonDocument(draw(st.sampled_from([document, document.decode()])))
    if isinstance(value, str):
        place = draw(st.integers(0, len(value)))
        return JsonText(value[:place]).followed_by(value[place:])
    if isinstance(value, list):
        found = JsonList()
        for each in value:
            found.append(encode_pieces(cut(each, draw)))
        return found
    return value


@settings(max_examples=200, deadline=None)
@given(value=VALUES, data=st.data())
def test_it_is_what_it_would_be_as_a_whole(value: Any, data: Any) -> None:
    whole, pieces = msgspec.json.encode(value), encode_pieces(cut(value, data.draw))
    assert b"".join(pieces) == whole
    groups = list(grouped(pieces))
    assert b"".join(groups) == whole
    longest = max(PIECE_BYTES, *map(len, pieces))
    assert all(len(group) <= longest for group in groups)
    assert all(len(a) + len(b) > PIECE_BYTES for a, b in itertools.pairwise(groups))


def test_long_lists_and_texts_are_never_in_one_piece() -> None:
    text = JsonText('é"' * 500_000)
    assert len(text) == 1_000_000
    items = JsonList(b"%d" % number for number in range(200_000))
    nested = JsonList()
    nested.append(items.pieces)
    nested.append(text.pieces)
    for value in (text, items, nested, {"a": [nested]}):
        pieces = encode_pieces(value)
        assert len(pieces) > 10
        assert max(map(len, pieces)) <= 4 * PIECE_BYTES
    assert any(piece is other for piece in nested.pieces for other in items.pieces)  # not copied


def test_a_longer_text_leaves_the_one_that_it_begins_with_as_it_is() -> None:
    first = JsonText("ab")
    second, third = first.followed_by("c"), first.followed_by("d")
    assert [encode_json(each) for each in (first, second, third)] == [b'"ab"', b'"abc"', b'"abd"']
    assert not JsonText()
    assert encode_json(JsonText().followed_by("")) == b'""'


def test_what_cannot_be_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be JSON"):
        encode_pieces({"a": object()})


@given(st.floats(max_value=0, min_value=-1e15) | st.floats(0, 1e15) | st.just(float("-inf")))
@settings(max_examples=2000)
def test_numbers_are_written_as_pydantic_writes_them(number: float) -> None:
    """Both write answers: one those of streams, the other models."""
    assert msgspec.json.encode(number) == to_json(number, inf_nan_mode="null")
    single = float(f"{number:.7g}")
    assert msgspec.json.encode(single) == to_json(single, inf_nan_mode="null")
