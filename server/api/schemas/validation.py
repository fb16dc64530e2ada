"""What the fields of requests are checked with."""

from typing import Annotated, Any, LiteralString

import msgspec
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def invalid(message: LiteralString, param: str | None = None) -> PydanticCustomError:
    """A validation error whose param is the field at hand, or the one named here."""
    return PydanticCustomError("invalid_value", message, {"param": param} if param else {})


def printable(text: str) -> str:
    """What a client has sent, to be shown in a message: half surrogate pairs become "?"."""
    return text.encode("utf-8", "replace").decode()


def check_unicode(text: str) -> str:
    """Refuse lone surrogates, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid("should be valid Unicode, without lone surrogates") from None
    return text


Text = Annotated[str, AfterValidator(check_unicode)]


def check_json_value(value: Any) -> Any:
    """Refuse what JSON has and cannot be sent back."""
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError):
        raise invalid("should be valid Unicode, and not nested so deeply") from None
    return value


Json = Annotated[Any, AfterValidator(check_json_value)]
"""Anything that can be sent back as it came."""
