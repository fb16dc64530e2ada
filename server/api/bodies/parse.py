"""From the bytes of a JSON body to values, so that no step holds up the event loop for long."""

import codecs
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi.exceptions import RequestValidationError

from server.api.bodies.cost import memory_of, text_memory
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
from server.api.errors import ApiError
from server.config import Settings

_PIECE = 128 << 10
"""Bytes: what holds the interpreter's lock for some milliseconds at the most, and then not."""
_DECODER = json.JSONDecoder()


def max_numbers(settings: Settings) -> int:
    """Whoever lets more tokens in lets them in as numbers, too."""
    return max(MAX_NUMBERS, settings.limits.max_queued_tokens)


def check(body: bytes | bytearray, max_values: int, numbers: int, what: str = "The body") -> int:
    """About how many bytes of memory the values of a body take. Raises ApiError for too many.

    What is not JSON may pass: parse() finds that.
    """
    try:
        return _counted(body, max_values, numbers)
    except TooManyValuesError:
        message = (
            f"{what} has more than {max_values} strings, objects, lists and fractions, or far more "
            "numbers; send less at once (http.max_body_values)"
        )
        raise ApiError("request_too_large", message) from None
    except TooDeepError:
        raise _too_deep(what) from None
    except LongNumberError:
        message = (
            f"{what} has a number of more than {MAX_DIGITS} characters, or more than "
            f"{MAX_LONG_NUMBERS} of more than {LONG_DIGITS}"
        )
        raise ApiError("invalid_json", message) from None
    except UnicodeDecodeError:
        raise _not_unicode(body, what) from None


def parse(body: bytearray) -> Any:
    """The values of a body that has been checked, as json.loads() has them. Empties the body.

    Raises ApiError, and RequestValidationError for what is not JSON.
    """
    try:
        text = "".join(_texts(body, _encoding(body)))
        body.clear()
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        found = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise RequestValidationError([found]) from None
    except UnicodeDecodeError:
        raise _not_unicode(body) from None
    except RecursionError:  # this Python is stricter than check(), as in what follows
        raise _too_deep() from None
    except ValueError:
        message = f"The body has a number of more than {sys.get_int_max_str_digits()} characters"
        raise ApiError("invalid_json", message) from None


def _too_deep(what: str = "The body") -> ApiError:
    return ApiError("invalid_json", f"{what} is nested more than {MAX_LEVELS} levels deep")


def _not_unicode(body: bytes | bytearray, what: str = "The body") -> ApiError:
    """Says where, in all of it: the pieces that were decoded do not know."""
    try:
        bytes(body).decode(_encoding(body), "surrogatepass")
    except UnicodeDecodeError as error:
        found = f" (byte 0x{error.object[error.start]:02x} at {error.start})"
        message = f"{what} is not {error.encoding.upper()}{found}; send it as UTF-8"
        return ApiError("invalid_json", message)
    return ApiError("invalid_json", f"{what} is not Unicode; send it as UTF-8")


def _encoding(body: bytes | bytearray) -> str:
    return json.detect_encoding(bytes(body[:4]))


def _counted(body: bytes | bytearray, max_values: int, numbers: int) -> int:
    encoding = _encoding(body)
    is_utf8 = encoding in ("utf-8", "utf-8-sig")
    if is_utf8 and (most := most_of_little(body, max_values)) is not None:
        return memory_of(text_memory(body), *most)
    pieces: Iterator[bytes] = _pieces(body)
    if not is_utf8:
        pieces = (text.encode("utf-8", "surrogatepass") for text in _texts(body, encoding))
    counter = Counter(max_values, numbers)
    for piece in pieces:
        counter.add(np.frombuffer(piece, np.uint8))
    # Characters of two or four bytes may become wider ones.
    return memory_of(text_memory(body) if is_utf8 else 2 * len(body), counter.values, counter.items)


def _texts(body: bytes | bytearray, encoding: str) -> Iterator[str]:
    """The text in parts. Raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for piece in _pieces(body):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _pieces(body: bytes | bytearray) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield bytes(body[start : start + _PIECE])
