"""The shape of every error."""

from typing import Any

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """What went wrong; `param` names the field of the request, `code` is stable."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI's envelope around an error."""

    error: ErrorBody


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "The request was refused"},
    "5XX": {"model": ErrorResponse, "description": "The server failed or is not ready"},
}
