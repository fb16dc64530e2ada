"""Every error that the API can answer with: one table, one exception, one shape."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from server.api.call import call_of
from server.api.dialects import dialect_for
from server.api.schemas.peer_fields import as_sent
from server.logs import request_id
from server.pool.client import NotReadyError, QueueFullError


@dataclass(frozen=True)
class ErrorKind:
    """The status and type of an error code; `permanent` tells clients not to retry a 5xx."""

    status: int
    type: str
    permanent: bool = False


INVALID = "invalid_request_error"

ERRORS = {
    "invalid_json": ErrorKind(400, INVALID),
    "invalid_http": ErrorKind(400, INVALID),
    "invalid_encoding": ErrorKind(400, INVALID),
    "invalid_value": ErrorKind(400, INVALID),
    "missing_required_parameter": ErrorKind(400, INVALID),
    "unsupported_parameter": ErrorKind(400, INVALID),
    "unsupported_content": ErrorKind(400, INVALID),
    "context_length_exceeded": ErrorKind(400, INVALID),
    # As OpenAI has it, although what is named is not there.
    "previous_response_not_found": ErrorKind(400, INVALID),
    # Found while it generates: the grammar needs more than this model or the limits have.
    "grammar_error": ErrorKind(400, INVALID),
    "invalid_api_key": ErrorKind(401, INVALID),
    "model_not_found": ErrorKind(404, INVALID),
    "model_load_failed": ErrorKind(400, INVALID),
    "admin_refused": ErrorKind(403, "permission_error"),
    "origin_refused": ErrorKind(403, "permission_error"),
    "state_not_found": ErrorKind(404, INVALID),
    "states_disabled": ErrorKind(404, INVALID),
    "response_not_found": ErrorKind(404, INVALID),
    "conversation_not_found": ErrorKind(404, INVALID),
    "item_not_found": ErrorKind(404, INVALID),
    "responses_disabled": ErrorKind(404, INVALID),
    "file_not_found": ErrorKind(404, INVALID),
    "batch_not_found": ErrorKind(404, INVALID),
    "batches_disabled": ErrorKind(404, INVALID),
    "unknown_url": ErrorKind(404, INVALID),
    "method_not_allowed": ErrorKind(405, INVALID),
    "request_timeout": ErrorKind(408, INVALID),
    "model_conflict": ErrorKind(409, INVALID),
    "state_incompatible": ErrorKind(409, INVALID),
    "file_in_use": ErrorKind(409, INVALID),
    "batch_over": ErrorKind(409, INVALID),
    "request_too_large": ErrorKind(413, INVALID),
    "unsupported_encoding": ErrorKind(415, INVALID),
    "host_refused": ErrorKind(421, INVALID),
    "upgrade_required": ErrorKind(426, INVALID),
    "queue_full": ErrorKind(429, "rate_limit_error"),
    "rate_limit_exceeded": ErrorKind(429, "rate_limit_error"),
    "headers_too_large": ErrorKind(431, INVALID),
    # Nobody reads this one: it is how the log shows a client that left before the answer.
    "client_closed_request": ErrorKind(499, INVALID),
    "internal_error": ErrorKind(500, "server_error", permanent=True),
    "engine_error": ErrorKind(500, "server_error"),
    # What came with the model does not end, or needs too much: others' models are served on.
    "template_failed": ErrorKind(500, "server_error", permanent=True),
    "poison_request": ErrorKind(500, "server_error", permanent=True),
    "too_many_connections": ErrorKind(503, "service_unavailable_error"),
    "loading": ErrorKind(503, "service_unavailable_error"),
    "model_not_loaded": ErrorKind(503, "service_unavailable_error", permanent=True),
    "states_unavailable": ErrorKind(503, "service_unavailable_error", permanent=True),
    "responses_unavailable": ErrorKind(503, "service_unavailable_error"),
    "batches_unavailable": ErrorKind(503, "service_unavailable_error", permanent=True),
    "stopping": ErrorKind(503, "service_unavailable_error"),
    "states_full": ErrorKind(507, "server_error", permanent=True),
    "responses_full": ErrorKind(507, "server_error", permanent=True),
    "batches_full": ErrorKind(507, "server_error", permanent=True),
    # Too much to do, which passes: what 503 and Retry-After are for.
    "queue_timeout": ErrorKind(503, "service_unavailable_error"),
    # Another try would begin anew and take as long.
    "deadline_exceeded": ErrorKind(504, "server_error", permanent=True),
}

# Errors that the framework raises on its own, by status.
FRAMEWORK_ERRORS = {404: "unknown_url", 405: "method_not_allowed"}


class ApiError(HTTPException):
    """An error of the table. FastAPI lets an HTTPException through even while it reads a body."""

    def __init__(
        self, code: str, message: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        kind = ERRORS[code]
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(max(1, ceil(retry_after)))
        if kind.status == 401:
            headers["www-authenticate"] = "Bearer"
        if kind.permanent:
            headers["x-should-retry"] = "false"
        super().__init__(kind.status, message, headers)
        self.code = code
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind.type, "param": param, "code": code}
        }

    def renamed(self, rename: Callable[[str], str]) -> "ApiError":
        """The same for an API that calls the field by another name."""
        message, param = (self.body["error"][name] for name in ("message", "param"))
        if not param or (name := rename(param)) == param:
            return self
        if message.startswith(param):
            message = f"{name}{message[len(param) :]}"
        error = ApiError(self.code, message, name)
        error.headers = self.headers
        return error


class ClientGoneError(ApiError):
    """The client closed the connection before it had its answer."""

    def __init__(self) -> None:
        super().__init__("client_closed_request", "the client closed the connection")


def not_ready(error: NotReadyError) -> ApiError:
    """The 503 of a model that is not there yet."""
    message = f"The model is not ready: {error}"
    return ApiError("loading", message, retry_after=error.retry_after)


def queue_full(error: QueueFullError) -> ApiError:
    """The 429 of a server that has enough to do."""
    return ApiError("queue_full", f"Try again later: {error}", retry_after=error.retry_after)


def invalid_request(error: ValidationError, rename: Callable[[str], str]) -> RequestValidationError:
    """What is wrong with a request that was made of one of another API, in the words of that."""
    found = []
    for each in error.errors():
        context = each.get("ctx", {})
        name = context.get("param") or ".".join(map(str, each["loc"]))
        found.append({**each, "ctx": {**context, "param": rename(name)}})
    return RequestValidationError(found)


def internal_error() -> ApiError:
    """The answer to an unexpected exception; the log has the details."""
    return ApiError("internal_error", "The server had an internal error; its log says more.")


class _ErrorResponse(Response):
    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error, dialect = self._error, dialect_for(scope)
        note_error(scope, error.code)
        body = dialect.error(error.body["error"], error.status_code, request_id.get())
        await JSONResponse(body, error.status_code, error.headers)(scope, receive, send)


def error_response(error: ApiError) -> Response:
    """An error as an HTTP response, in the shape that the path's clients know."""
    return _ErrorResponse(error)


def note_error(scope: Scope, code: str) -> None:
    """Let the log and the metrics know what the request is answered with."""
    call_of(scope).error_code = code


def install_error_handlers(app: FastAPI) -> None:
    """Give the framework's own errors the same shape."""

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(_from_http_exception(request, error))

    async def on_validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_response(_from_validation_error(error))

    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)


def _from_http_exception(request: Request, error: HTTPException) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if error.status_code in FRAMEWORK_ERRORS:
        url = f"{request.method} {request.url.path[:200]}"
        message = f"{error.detail}: {url}{_remedy(request, error)}"
        converted = ApiError(FRAMEWORK_ERRORS[error.status_code], message)
    elif error.status_code < 500:
        # Too deeply nested, or not UTF-8: what the JSON parser refuses in its own ways.
        converted = ApiError("invalid_json", error.detail)
    else:
        converted = internal_error()
    converted.headers = {**(error.headers or {}), **(converted.headers or {})}
    return converted


def _remedy(request: Request, error: HTTPException) -> str:
    """What to ask instead."""
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return f"; use {allowed}" if allowed else ""
    nearest = request.app.state.paths.nearest(request.url.path)
    return f"; did you mean {nearest}?" if nearest else "; see /openapi.json for all paths"


def _from_validation_error(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    context = first.get("ctx", {})
    if first["type"] == "json_invalid":
        return ApiError("invalid_json", f"The body is not valid JSON: {context.get('error')}")
    param = as_sent(context.get("param", ""), error.body)
    param = param or ".".join(map(str, _path(first, error.body)))
    if not param:
        return ApiError(
            "invalid_value", "The body must be a JSON object, sent as content-type application/json"
        )
    code = first["type"] if first["type"] in ERRORS else "invalid_value"
    if first["type"] == "missing":
        code = "missing_required_parameter"
    return ApiError(code, f"{param}: {first['msg']}", param)


def _path(error: dict[str, Any], body: Any) -> list[str | int]:
    """Where an error is; in the body without pydantic's names of the members of unions."""
    parts: list[str | int] = list(error["loc"][1:])
    if error["loc"][0] != "body" or not isinstance(body, dict):
        return parts
    path: list[str | int] = []
    if parts and isinstance(parts[0], str):
        parts[0] = as_sent(parts[0], body)
    for part in parts:
        if _has(body, part):
            body = body[part]
            path.append(part)
    return [*path, parts[-1]] if error["type"] == "missing" and path[-1:] != parts[-1:] else path


def _has(body: Any, part: str | int) -> bool:
    if isinstance(body, dict):
        return part in body
    return isinstance(body, list) and isinstance(part, int) and part < len(body)
