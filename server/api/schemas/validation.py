"""What the fields of requests are checked with."""

from typing import Annotated, LiteralString

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
