"""The OpenAPI description: what FastAPI cannot tell of the app by itself."""

import re
from collections import Counter
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from server.api.access import OPEN_PATHS
from server.api.dialects import dialect_of
from server.api.errors import ERRORS
from server.api.examples import EXAMPLES
from server.api.schemas.errors import ERROR_RESPONSES
from server.version import VERSION

Fields = dict[str, Any]

_ABOUT = (
    "Inference of RWKV language models: OpenAI's API, those of Anthropic and Ollama as "
    "translations of it, and what only a model with a state can do."
)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
# No schema: some tools take it for that of the whole text, others for that of each event.
_EVENTS = {"x-when": "stream is true"}
_REQUEST_ID = {
    "description": "The request's own, if it has one; it is in the log, too.",
    "schema": {"type": "string"},
}
_RETRY_AFTER = {
    "description": "Seconds until another try makes sense; with 429 and 503.",
    "schema": {"type": "integer", "minimum": 1},
}


def describe(app: FastAPI) -> None:
    """Let the app tell all about itself at /openapi.json, from its routes as they are now."""

    def openapi() -> Fields:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title="rwkv-server",
                    version=VERSION,
                    description=_ABOUT,
                    license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Fields) -> Fields:
    document["components"]["securitySchemes"] = _SCHEMES
    schemas = document["components"]["schemas"]
    schemas["ErrorBody"]["properties"]["code"]["enum"] = [*ERRORS, None]
    operations = [
        (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
    ]
    _name(operations)
    for path, operation in operations:
        if path not in OPEN_PATHS:
            # None is needed where none is configured.
            operation["security"] = [{}, *({name: []} for name in _SCHEMES)]
        operation["responses"].pop("422", None)  # FastAPI's own way to refuse; ours is 400
        _tell_of_streams(path, operation, schemas)
        if path in EXAMPLES and "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            content["example"] = EXAMPLES[path]
        for status, told in ERROR_RESPONSES.items():
            operation["responses"].setdefault(status, _refusal(told["description"]))
        for status, response in operation["responses"].items():
            headers = response.setdefault("headers", {})
            headers[dialect_of(path).id_header.decode()] = _REQUEST_ID
            if status in ERROR_RESPONSES:
                headers["retry-after"] = _RETRY_AFTER
    return document


def _refusal(description: str) -> Fields:
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def unique_id(route: APIRoute) -> str:
    """Of an operation, until describe() makes it shorter."""
    return f"{route.name}:{route.path}"


def _name(operations: list[tuple[str, Fields]]) -> None:
    """The functions' names; those that several paths share have the path behind it."""
    names = [operation["operationId"].partition(":")[0] for _, operation in operations]
    counts = Counter(names)
    for name, (path, operation) in zip(names, operations, strict=True):
        shared = re.sub(r"\W+", "_", path).rstrip("_") if counts[name] > 1 else ""
        operation["operationId"] = name + shared


def _tell_of_streams(path: str, operation: Fields, schemas: Fields) -> None:
    """An operation that can stream answers in a second form."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref", "")
    fields = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
    if "stream" in fields and "count" not in path:
        form = "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"
        operation["responses"]["200"]["content"][form] = _EVENTS
