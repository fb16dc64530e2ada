"""Stop strings in every dialect: at most 16, of 1 to 1,024 characters, named when they are not."""

from typing import Any

import pytest

from server.api.schemas.generation import MAX_STOP_CHARACTERS
from tests.api.harness import Harness

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
LONG, WHOLE = "é" * (MAX_STOP_CHARACTERS + 1), "é" * MAX_STOP_CHARACTERS

DIALECTS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/completions", {"prompt": "a"}, "stop"),
    ("/v1/chat/completions", {"messages": HELLO}, "stop"),
    ("/v1/responses", {"input": "a", "store": False}, "stop"),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 5}, "stop_sequences"),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 5}, "stop"),
    ("/api/chat", {"messages": HELLO, "stream": False}, "options.stop"),
    ("/api/generate", {"prompt": "a", "stream": False}, "options.stop"),
    ("/api/generate", {"prompt": "a", "stream": False, "raw": True}, "options.stop"),
]


def with_stop(body: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    first, _, second = field.partition(".")
    return body | {first: {second: value} if second else value}


@pytest.mark.parametrize(("path", "body", "field"), DIALECTS)
@pytest.mark.parametrize("value", [["a", LONG], [LONG], ["", "a"], ["a"] * 17, ["\udc00"]])
async def test_others_are_refused_by_name(
    path: str, body: dict[str, Any], field: str, value: list[str]
) -> None:
    api = Harness()
    content = str(with_stop(body, field, value)).replace("'", '"').replace("True", "true")
    response = await api.post_bytes(path, content.replace("False", "false").encode())
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert field in message
    assert len(message) < 300
    assert not api.worker.generated


@pytest.mark.parametrize(("path", "body", "field"), DIALECTS)
async def test_as_long_as_they_may_be_they_reach_the_engine(
    path: str, body: dict[str, Any], field: str
) -> None:
    api = Harness()
    response = await api.post(path, **with_stop(body, field, [WHOLE]))
    assert response.status_code == 200, response.text
    assert WHOLE in api.worker.generated[-1].task.params.stop
