"""Writes docs/api.md: every route, every field of a body, and every error, from the code.

python -m tests.api.conformance > docs/api.md
"""

from collections.abc import Iterator
from typing import Any

from anthropic.types import message_create_params
from openai.types import (
    batch_create_params,
    completion_create_params,
    embedding_create_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from server.api.errors import ERRORS
from server.api.schemas.batches import BatchRequest
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.embeddings import EmbeddingRequest
from server.api.schemas.messages import MessagesRequest
from server.api.schemas.peer_fields import ADVICE, ALIASES, UNSUPPORTED
from server.api.schemas.responses import ResponseRequest
from tests.api.harness import Harness

HEAD = """# The API, field by field

Made by `python -m tests.api.conformance` from the code, and compared with it by a test; the same
for programs is at `/openapi.json`. A field that would change the answer is kept, or refused with
a 400 that names it and says what to use: those of other servers are listed under
[Fields of other servers](#fields-of-other-servers). What is not here changes nothing, and is
ignored.

"""

ABOUT_ERRORS = """\
An error is `{"error": {"message", "type", "param", "code"}}`, in streams too; on the
routes of Anthropic's and Ollama's clients it has their forms. `param` names the field. 429 and 503
have `Retry-After` where another try makes sense; a 5xx with `x-should-retry: false` is for good.
"""

ENDPOINTS: dict[str, tuple[type[BaseModel], Any]] = {
    "/v1/chat/completions": (ChatCompletionRequest, chat_create_params.CompletionCreateParamsBase),
    "/v1/completions": (CompletionRequest, completion_create_params.CompletionCreateParamsBase),
    "/v1/responses": (ResponseRequest, response_create_params.ResponseCreateParamsBase),
    "/v1/embeddings": (EmbeddingRequest, embedding_create_params.EmbeddingCreateParams),
    "/v1/batches": (BatchRequest, batch_create_params.BatchCreateParams),
    "/v1/messages": (MessagesRequest, message_create_params.MessageCreateParamsBase),
}
"""Path → our body, and the type of the official client's."""

ABOUT_PEERS = """\
Where text is generated, these are understood, or refused with a 400 unless they have a value that
changes nothing (null, false, 0, an empty list, a penalty of 1, …). Chats also know `reasoning`
(`effort`, `enabled`, `exclude`), `thinking` (`type`), `reasoning_format` (`auto`, `parsed`,
`hidden`) and `prefix: true` in their last message. With Ollama's clients all of this belongs in
`options`. Hints that no answer can be held to have no effect: `verbosity`, and
`thinking.budget_tokens` of /v1/messages.
"""

REFUSED = {"function_call", "functions"}
"""By a check of their own, rather than as `unsupported`."""

IGNORED = {
    "access_programs": "only their models have it",
    "background_options": "responses in the background have no options",
    "diagnostics": "only their service has it",
    "image": "only their service has it",
    "inference_geo": "it is computed where the server is",
    "metadata": "nothing is kept with it",
    "moderation": "nothing is moderated",
    "prediction": "it would change the speed, not the answer",
    "safety_identifier": "nobody looks at it",
    "service_tier": "there is one",
    "speed": "there is one",
    "store": "only responses are kept",
    "user": "nobody looks at it",
    "user_profile_id": "nobody looks at it",
    "verbosity": "say it in a system message",
    "workspace_id": "nobody looks at it",
}
"""Fields of official clients that change nothing, and why they may be."""


def theirs(kind: Any) -> set[str]:
    """The names of the fields of a client's type."""
    return {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}


def refused_by(ours: type[BaseModel]) -> set[str]:
    """The names of fields that a body is refused for."""
    return set(getattr(ours, "unsupported", {})) - getattr(ours, "allowed", frozenset())


def status_of(path: str) -> dict[str, str]:
    """What becomes of the fields that the official client has and our body has not."""
    ours, kind = ENDPOINTS[path]
    unsupported = refused_by(ours) | REFUSED
    found = {}
    for name in sorted(theirs(kind) - set(ours.model_fields)):
        if name in unsupported:
            found[name] = "refused with 400"
        else:
            found[name] = f"ignored: {IGNORED[name]}"
    return found


def page() -> str:
    """All of docs/api.md."""
    return HEAD + "\n".join([*_routes(), *_bodies(), *_peers(), *_errors()]) + "\n"


def _routes() -> Iterator[str]:
    yield "## Routes\n"
    yield "| route | |\n|---|---|"
    for path, methods in Harness().app.openapi()["paths"].items():
        for method, operation in methods.items():
            told = operation["description"].partition("\n\n")[0].replace("\n", " ")
            yield f"| `{method.upper()} {path}` | {told} |"
    yield ""


def _bodies() -> Iterator[str]:
    for path, (ours, _) in ENDPOINTS.items():
        yield f"## `POST {path}`\n"
        yield "| field | default | |\n|---|---|---|"
        for name, field in sorted(ours.model_fields.items()):
            if name not in refused_by(ours):
                yield f"| `{field.alias or name}` | {_default(field)} | {field.description or ''} |"
        for name in sorted(refused_by(ours) - set(UNSUPPORTED)):
            yield f"| `{name}` | | refused with 400{_advice(name)} |"
        for name, status in status_of(path).items():
            if name not in refused_by(ours):
                yield f"| `{name}` | | {status} |"
        yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == "" or isinstance(value, BaseModel | list | dict):
        return ""
    if isinstance(value, tuple) or not isinstance(value, int | float | str | bool):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _advice(name: str) -> str:
    return f": {ADVICE[name]}" if name in ADVICE else ""


def _peers() -> Iterator[str]:
    yield "## Fields of other servers\n"
    yield ABOUT_PEERS
    yield "| field | |\n|---|---|"
    for name, here in sorted(ALIASES.items()):
        yield f"| `{name}` | another name of `{here}`, where there is no such field |"
    for name in sorted(UNSUPPORTED):
        yield f"| `{name}` | refused{_advice(name)} |"
    yield ""


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield ABOUT_ERRORS
    yield "| code | status | type | try again |\n|---|---|---|---|"
    for code, kind in ERRORS.items():
        again = "no" if kind.permanent or kind.status < 429 or kind.status == 499 else "yes"
        yield f"| `{code}` | {kind.status} | `{kind.type}` | {again} |"


if __name__ == "__main__":
    print(page(), end="")
