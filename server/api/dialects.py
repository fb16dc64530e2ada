"""Whose API a path belongs to: errors look as its clients expect them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

OpenAIError = dict[str, Any]
"""message, type, param and code."""


@dataclass(frozen=True)
class Dialect:
    """What differs for all answers of an API, also for those of the middleware."""

    error: Callable[[OpenAIError, int, str], dict[str, Any]]
    """The body of an error, of a status, of the request with an id."""
    id_header: bytes = b"x-request-id"


def _of_openai(error: OpenAIError, status: int, request_id: str) -> dict[str, Any]:
    del status, request_id
    return {"error": error}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _of_anthropic(error: OpenAIError, status: int, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {
        "type": "error",
        "error": {**error, "type": kind},
        "request_id": request_id,
    }


def _of_ollama(error: OpenAIError, status: int, request_id: str) -> dict[str, Any]:
    del status, request_id
    return {"error": error["message"]}


OPENAI = Dialect(_of_openai)
ANTHROPIC = Dialect(_of_anthropic, b"request-id")

OLLAMA = Dialect(_of_ollama)

_PREFIXES = (("/v1/messages", ANTHROPIC), ("/api/", OLLAMA))


def dialect_of(path: str) -> Dialect:
    """That of a path; OpenAI's for all that is nobody else's."""
    return next((dialect for prefix, dialect in _PREFIXES if path.startswith(prefix)), OPENAI)


ANTHROPIC_VERSION = "anthropic-version"
"""A header that only Anthropic's clients send."""
_SHARED = "/v1/models"
"""What the clients of both ask."""


def dialect_for(scope: Scope) -> Dialect:
    """That of a request: on paths that several APIs have, its client's."""
    path: str = scope["path"]
    if path == _SHARED or path.startswith(f"{_SHARED}/"):
        header = ANTHROPIC_VERSION.encode()
        return ANTHROPIC if any(name == header for name, _ in scope["headers"]) else OPENAI
    return dialect_of(path)
