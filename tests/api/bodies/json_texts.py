"""JSON values and texts as clients may write them, for tests of what reads bodies."""

import json
from typing import Any

from hypothesis import strategies as st

CHARACTERS = st.sampled_from(
    [*'\\"/[]{},:.e-1 \n\x00éß漢😀', "\ud800", "\udc00", "\ufeff"]
) | st.sampled_from(["\\\\", '\\"', "\\u0022", "true"])
TEXTS = st.text(max_size=6) | st.lists(CHARACTERS, max_size=8).map("".join)
"""Also with what means something outside of strings, and half surrogate pairs."""
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -0.0, 1e300, 1e-9, 10**300, -(10**50)])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)
"""NaN and infinite numbers, too."""

SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  "), ("\r\n,", " :")])


def _escaped(text: str) -> str:
    r"""The same JSON text, with quotes in strings as \u0022 and backslashes as \u005c."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\":
            pair = text[at : at + 2]
            parts.append({'\\"': "\\u0022", "\\\\": "\\u005C"}.get(pair, pair))
            at += 2
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts)


def _written(value: Any, separators: tuple[str, str], is_ascii: bool, is_escaped: bool) -> str:
    text = json.dumps(value, separators=separators, ensure_ascii=is_ascii)
    return _escaped(text) if is_escaped else text


WRITTEN: st.SearchStrategy[str] = st.builds(
    _written, VALUES, SEPARATORS, st.booleans(), st.booleans()
)
"""JSON texts."""


def split(text: bytes, sizes: list[int]) -> list[bytes]:
    """A text in pieces of these sizes, again and again."""
    pieces: list[bytes] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces
