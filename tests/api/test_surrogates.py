"""Half a surrogate pair, which JSON can write and UTF-8 cannot, in every string of a body."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server.api.examples import EXAMPLES
from tests.api.harness import Harness

pytestmark = pytest.mark.anyio

HALVES = ["\ud800", "a\udfffb", "\udc80"]
MORE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "n"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "i", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {"p": {"enum": ["e"]}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "stop": ["s"], "user": "u", "metadata": {"k": "v"}, "logit_bias": [["a", 1]],
        "cache_salt": "c", "prompt_cache_key": "k", "dry_sequence_breakers": ["b"],
        "chat_template_kwargs": {"z": "w"}, "reasoning_effort": "low", "max_tokens": 3,
    },
    "/v1/completions": {"prompt": ["a", "b"], "stop": "s", "user": "u", "model": "m", "suffix": ""},
    "/v1/responses": {
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
            {"type": "reasoning", "id": "r", "summary": [],
             "content": [{"type": "reasoning_text", "text": "t"}]},
        ],
        "instructions": "i", "metadata": {"k": "v"}, "user": "u", "safety_identifier": "s",
        "previous_response_id": None, "tools": [{"type": "function", "name": "f",
        "parameters": {"type": "object"}, "description": "d"}], "store": False,
        "max_output_tokens": 3,
    },
    "/v1/messages": {
        "max_tokens": 3, "system": [{"type": "text", "text": "s"}], "stop_sequences": ["x"],
        "metadata": {"user_id": "u"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "g"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "b"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    },
    "/api/chat": {
        "messages": [{"role": "assistant", "content": "a", "thinking": "t", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": "b"}}}]},
            {"role": "tool", "tool_name": "f", "content": "c"}],
        "options": {"stop": ["s"], "num_predict": 3}, "keep_alive": "1m", "stream": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    },
    "/api/generate": {"prompt": "a", "system": "s", "format": {"title": "t"}, "model": "m",
                      "stream": False, "options": {"num_predict": 3}},
    "/v1/rerank": {"query": "q", "documents": ["d", {"text": "t"}], "instruction": "i"},
    "/v1/conversations": {"metadata": {"k": "v"}, "items": [{"role": "user", "content": "a"}]},
    "/v1/apply-template": {"messages": [{"role": "user", "content": "a"}],
                           "chat_template_kwargs": {"z": "w"}},
    "/v1/batches": {"input_file_id": "file-1", "endpoint": "/v1/completions",
                    "completion_window": "24h", "metadata": {"k": "v"}},
    "/v1/admin/models/load": {"model": "m", "alias": "a"},
}  # fmt: skip
BODIES = [*EXAMPLES.items(), *MORE.items()]


def spoilt(value: Any, half: str) -> Iterator[Any]:
    """The value with half a pair in each of its strings and keys, one at a time."""
    if isinstance(value, str):
        yield value + half
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from (
                [*value[:index], other, *value[index + 1 :]] for other in spoilt(each, half)
            )
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from ({**value, key: other} for other in spoilt(each, half))
            yield {**value, key + half: each}


@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda each: str(each)[:20])
async def test_nothing_fails_by_mistake(path: str, body: dict[str, Any]) -> None:
    api = Harness()
    for half in HALVES:
        for other in spoilt(body, half):
            response = await api.post_bytes(path, json.dumps(other).encode())
            assert response.status_code < 500 or response.status_code == 503, (other, response.text)
            for line in response.content.splitlines():
                line.decode()


@pytest.mark.parametrize(
    "path",
    ["/v1/models/%ED%A0%80", "/v1/responses/%ff", "/v1/files/a%ED%B0%80", "/v1/models/\udcff",
     "/v1/states/%80?limit=%ED%A0%80", "/v1/responses?after=%ED%A0%80", "/%ED%A0%80"],
)  # fmt: skip
async def test_paths(path: str) -> None:
    api = Harness()
    async with api.http() as http:
        response = await http.get(path.encode("utf-8", "surrogateescape").decode("latin-1"))
    assert response.status_code in (400, 404, 405)
    response.json()
