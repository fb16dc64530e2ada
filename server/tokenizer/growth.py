"""How much longer the normalizer of a tokenizer.json may make a text.

It runs in the server's own process: one that writes a megabyte for every letter would fill its
memory with any prompt.
"""

import base64
import binascii
import struct
from typing import Any

MOST_GROWTH = 64
"""Times. Normal forms of Unicode make 18 characters of one, where all is known of a text."""
MOST_PREPENDED = 1024  # characters


def check_growth(normalizer: Any) -> None:
    """Raises ValueError, one line, for one that could make texts too long.

    `normalizer` is what the library has read already.
    """
    growth, prepended = 1, 0
    for part in _parts(normalizer):
        growth *= _growth_of(part)
        prepended += len(part.get("prepend") or "")
    if growth > MOST_GROWTH:
        raise ValueError(f"its normalizer can make a text {growth} times as long")
    if prepended > MOST_PREPENDED:
        raise ValueError(f"its normalizer puts {prepended} characters before every text")


def _parts(normalizer: Any) -> list[dict[str, Any]]:
    """All that change a text, in order, whatever they are nested in."""
    parts, open_ = [], [normalizer]
    while open_:
        part = open_.pop()
        if isinstance(part, dict):
            parts.append(part)
            open_ += reversed(part.get("normalizers") or [])
    return parts


def _growth_of(part: dict[str, Any]) -> int:
    """How many characters it can make of one."""
    if part.get("type") == "Replace":
        pattern = part.get("pattern") or {}
        found = len(pattern.get("String") or "")
        added = len(part.get("content") or "")
        # What matches nothing is found before every character, and a regular expression may.
        return max(1, -(-added // found)) if found else 1 + added
    if part.get("type") == "Precompiled":
        return max(1, _longest_of(part.get("precompiled_charsmap") or ""))
    return 1


def _longest_of(charsmap: str) -> int:
    """The longest text, in bytes, that a table of SentencePiece has for characters."""
    try:
        table = base64.b64decode(charsmap)
        (size,) = struct.unpack_from("<I", table)
    except (binascii.Error, struct.error):
        return 1
    return max(map(len, table[4 + size :].split(b"\0")))
