"""What the fields of requests are checked with."""

from typing import Annotated, Any, LiteralString

import msgspec
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def invalid(message: LiteralString, param: str | None = None) -> PydanticCustomError:
    """A validation error whose param is the field at hand, or the one named here."""
    return PydanticCustomError("invalid_value", message, {"param": param} if param else {})


def check_unicode(text: str) -> str:
    """Refuse lone surrogates, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid("should be valid Unicode, without lone surrogates") from None
    return text


Text = Annotated[str, AfterValidator(check_unicode)]


def _check_json(value: Any) -> Any:
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError):
        raise invalid("should be valid Unicode, and not nested so deeply") from None
    return value


Json = Annotated[Any, AfterValidator(_check_json)]
"""Anything that can be sent back as it came."""
