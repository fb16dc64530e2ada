"""What is refused names the field; whatever JSON comes, the answer is a result or an error."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.errors import ERRORS
from tests.api.harness import assert_error
from tests.api.responses_harness import CONVERSATIONS, RESPONSES, ResponsesHarness
from tests.api.test_fuzz import JSON_VALUES

LIMITS = {"max_output_tokens": 100, "max_prompt_tokens": 300}
USER = {"role": "user", "content": "hi"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,"}
TOOL = {"type": "function", "name": "f", "parameters": {}}

WRONG_SCHEMA = {"type": "json_schema", "name": "x", "schema": {"type": "strng"}}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": []}, "missing_required_parameter", "input"),
    ({"input": "x" * 400}, "context_length_exceeded", "input"),
    ({"input": 3}, "invalid_value", "input"),
    ({"input": [3]}, "unsupported_content", "input.0"),
    ({"input": [{"type": "hologram_call"}]}, "unsupported_content", "input.0"),
    ({"input": [{"type": ["message"]}]}, "unsupported_content", "input.0"),
    ({"input": [{"type": "ghost_snapshot", "x": "\ud800"}]}, "invalid_value", "input.0"),
    ({"input": [{"role": "tool", "content": "a"}]}, "invalid_value", "input.0.role"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input.0.content"),
    (
        {"input": [{"role": "user", "content": [IMAGE]}]},
        "unsupported_content",
        "input.0.content.0",
    ),
    ({"input": [{"id": "msg_0"}]}, "item_not_found", "input"),
    ({"input": "\ud800"}, "invalid_value", "input"),
    ({"previous_response_id": "resp_0"}, "previous_response_not_found", "previous_response_id"),
    ({"conversation": "conv_0"}, "conversation_not_found", "conversation"),
    ({"conversation": {"name": "x"}}, "invalid_value", "conversation"),
    ({"max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
    ({"max_output_tokens": 101}, "invalid_value", "max_output_tokens"),
    ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
    ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value", "metadata"),
    ({"metadata": {"a": "b" * 513}}, "invalid_value", "metadata.a"),
    ({"metadata": {"a": 1}}, "invalid_value", "metadata.a"),
    ({"background": True, "store": False}, "invalid_value", "background"),
    ({"truncation": "left"}, "invalid_value", "truncation"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort"),
    ({"text": {"verbosity": "loud"}}, "invalid_value", "text.verbosity"),
    ({"text": {"format": {"type": "json_schema"}}}, "invalid_value", "text.format.schema"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type"),
    ({"text": {"format": WRONG_SCHEMA}}, "invalid_value", "text.format.schema"),
    (
        {"text": {"format": {"type": "json_object"}}, "guided_regex": "a"},
        "invalid_value",
        "text.format",
    ),
    ({"tools": [{"type": "function"}]}, "invalid_value", "tools[0].name"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
    ({"state_id": "state_1"}, "unsupported_parameter", "state_id"),
    ({"save_state": True}, "unsupported_parameter", "save_state"),
    ({"n": 2}, "unsupported_parameter", "n"),
    ({"tool_choice": "\ud800"}, "invalid_value", "tool_choice"),
    ({"temperature": -1}, "invalid_value", "temperature"),
    ({"seed": 1.5}, "invalid_value", "seed"),
    ({"model": "other"}, "model_not_found", "model"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the responses of all that is tried."""
    return tmp_path_factory.mktemp("responses")


def send(folder: Path, method: str, path: str, body: Any) -> httpx.Response:
    """An answer of a server that was just started."""

    async def scenario() -> httpx.Response:
        api = ResponsesHarness(folder, {"limits": LIMITS})
        try:
            content = json.dumps(body).encode()
            headers = {"content-type": "application/json"}
            return await api.call(method, path, content=content, headers=headers)
        finally:
            await api.background.stop()
            api.kept.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED)
def test_what_is_refused_names_the_field(
    folder: Path, fields: dict[str, Any], code: str, param: str
) -> None:
    response = send(folder, "POST", RESPONSES, {"input": "hi"} | fields)
    error = assert_error(response, ERRORS[code].status, code)
    assert error["param"] == param
    assert "with conversation" not in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"items": [USER] * 21}, "items"),
        ("", {"items": [{"type": "reasoning", "summary": [3]}]}, "items.0.summary.0"),
        ("", {"metadata": {"": 3}}, "metadata."),
        ("/conv_0", {}, "metadata"),
        ("/conv_0/items", {"items": []}, "items"),
    ],
)
def test_what_conversations_refuse(folder: Path, path: str, body: Any, param: str) -> None:
    response = send(folder, "POST", CONVERSATIONS + path, body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "order=up", f"after={'x' * 300}"])
def test_pages_that_cannot_be(folder: Path, query: str) -> None:
    response = send(folder, "GET", f"{RESPONSES}/resp_0/input_items?{query}", None)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == query.split("=")[0]


FIELDS = [
    "model", "instructions", "previous_response_id", "conversation", "store", "metadata",
    "max_output_tokens", "top_logprobs", "truncation", "parallel_tool_calls", "include",
    "background", "stream", "reasoning", "text", "service_tier", "user", "tools", "tool_choice",
    "prompt_cache_options", "seed", "top_k", "stop", "max_tool_calls", "stream_options",
]  # fmt: skip
KINDS = ["message", "function_call", "function_call_output", "reasoning", "item_reference", "x"]
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["input_text", "refusal", "x"])}, optional={
        "text": JSON_VALUES, "refusal": JSON_VALUES, "prompt_cache_breakpoint": JSON_VALUES,
    }), max_size=2,
)  # fmt: skip
ITEMS = st.lists(
    st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(KINDS),
        "role": st.sampled_from(["user", "assistant", "system", "nobody"]),
        "content": st.text() | PARTS | JSON_VALUES,
        "output": st.text() | PARTS | JSON_VALUES,
        "call_id": st.text() | JSON_VALUES,
        "name": st.text() | JSON_VALUES,
        "arguments": st.text() | JSON_VALUES,
        "summary": JSON_VALUES,
        "id": st.text() | JSON_VALUES,
    }), max_size=3,
)  # fmt: skip
BODIES = st.builds(
    lambda base, more: base | more,
    st.fixed_dictionaries({"input": st.text() | ITEMS | JSON_VALUES}),
    st.dictionaries(
        st.sampled_from(FIELDS), JSON_VALUES | st.booleans() | st.just("none"), max_size=3
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    path=st.sampled_from([RESPONSES, f"{RESPONSES}/input_tokens"]),
    body=BODIES | JSON_VALUES,
)
def test_no_body_makes_an_internal_error(folder: Path, path: str, body: Any) -> None:
    response = send(folder, "POST", path, body)
    if response.status_code != 200:
        code = response.json()["error"]["code"]
        assert response.status_code in (400, 404)
        assert_error(response, ERRORS[code].status, code)
    elif response.headers["content-type"] == "application/json":
        json.loads(response.content.decode())


@settings(max_examples=30, deadline=None)
@given(items=ITEMS, metadata=JSON_VALUES)
def test_no_item_makes_an_internal_error(folder: Path, items: Any, metadata: Any) -> None:
    body = {"items": items, "metadata": metadata}
    response = send(folder, "POST", CONVERSATIONS, body)
    assert response.status_code in (200, 400, 404)
