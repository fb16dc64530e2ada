"""How much memory the values of a JSON text take."""

import numpy as np

_OF_VALUE = 64
"""Bytes of a string, object or list, or of the place of a field; beside its characters."""
_OF_ITEM = 40
"""Of a number, and of the place in a list or object."""


def memory_of(text: int, values: int, items: int) -> int:
    """About the most bytes that what is made of a text takes; the counts are those of Counter."""
    return text + _OF_VALUE * values + _OF_ITEM * items


def text_memory(text: bytes | bytearray) -> int:
    """The most bytes that all characters of a JSON text in UTF-8 take.

    In a string each takes as many as the widest.
    """
    if text.isascii():
        characters, highest = len(text), 0
    else:
        # All bytes but 10xxxxxx begin one.
        characters = int(np.count_nonzero(np.frombuffer(text, np.int8) >= -64))
        highest = int(np.frombuffer(text, np.uint8).max())
    if highest >= 0xF0 or b"\\ud" in text or b"\\uD" in text:
        return 4 * characters
    return (2 if highest >= 0xC4 or b"\\u" in text else 1) * characters
