"""What the public suite of Open Responses asserts of answers with text, and of compactions."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import MODEL
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.test_compaction import COMPACT, Compacting
from tests.api.test_response_events import events

pytestmark = pytest.mark.anyio

Form = Any
"""A type, a tuple of forms of which one holds, or the fields of an object."""
NULL = type(None)
NUMBER = (int, float)

USAGE = {
    "input_tokens": int,
    "output_tokens": int,
    "total_tokens": int,
    "input_tokens_details": {"cached_tokens": int},
    "output_tokens_details": {"reasoning_tokens": int},
}
RESPONSE = {
    "id": str,
    "object": str,
    "created_at": int,
    "completed_at": (int, NULL),
    "status": str,
    "incomplete_details": ({"reason": str}, NULL),
    "model": str,
    "previous_response_id": (str, NULL),
    "instructions": (str, NULL),
    "output": list,
    "error": ({"code": str, "message": str}, NULL),
    "tools": list,
    "tool_choice": (str, dict),
    "truncation": str,
    "parallel_tool_calls": bool,
    "text": {"format": {"type": str}},
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "top_logprobs": int,
    "temperature": NUMBER,
    "reasoning": {"effort": (str, NULL), "summary": (str, NULL)},
    "user": (str, NULL),
    "usage": (USAGE, NULL),
    "max_output_tokens": (int, NULL),
    "max_tool_calls": (int, NULL),
    "store": bool,
    "background": bool,
    "service_tier": str,
    "metadata": dict,
    "safety_identifier": (str, NULL),
    "prompt_cache_key": (str, NULL),
}
FUNCTION = {
    "type": str,
    "name": str,
    "description": (str, NULL),
    "parameters": (dict, NULL),
    "strict": (bool, NULL),
}
MESSAGE = {"type": str, "id": str, "status": str, "role": str, "content": list}
CALL = {"type": str, "id": str, "call_id": str, "name": str, "arguments": str, "status": str}
COMPACTION = {"type": str, "id": str, "encrypted_content": str}
ITEMS = {"message": MESSAGE, "function_call": CALL, "compaction": COMPACTION}

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state"}},
        "required": ["location"],
    },
}
CALLED = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Rome"}}\n</tool_call>'


def check(value: Any, form: Form, at: str = "response") -> None:
    """Whether a value has a form, and all fields that it needs."""
    if isinstance(form, dict):
        assert isinstance(value, dict), at
        for name, inner in form.items():
            assert name in value, f"{at}.{name} is missing"
            check(value[name], inner, f"{at}.{name}")
    elif isinstance(form, tuple) and isinstance(value, dict):
        inner = next((each for each in form if isinstance(each, dict)), None)
        if inner is not None:
            check(value, inner, at)
        else:
            assert dict in form, at
    else:
        forms = form if isinstance(form, tuple) else (form,)
        plain = tuple(each for each in forms if not isinstance(each, dict))
        assert isinstance(value, plain), f"{at} is {value!r}"
        assert not isinstance(value, bool) or bool in plain, at


def check_response(response: dict[str, Any]) -> None:
    """The schema of a response, its items and its tools."""
    check(response, RESPONSE)
    assert response["object"] == "response"
    assert response["text"].get("verbosity", "low") in ("low", "medium", "high")
    for tool in response["tools"]:
        check(tool, FUNCTION, "tool")
    check_items(response["output"])


def check_items(items: list[dict[str, Any]]) -> None:
    """Those of an output."""
    assert items
    for item in items:
        check(item, ITEMS[item["type"]], item["type"])
        for part in item.get("content", ()):
            if part["type"] == "output_text":
                check(part, {"text": str, "annotations": list, "logprobs": list}, "part")


SAID = {
    "basic": [{"type": "message", "role": "user", "content": "Say hello in exactly 3 words."}],
    "assistant-phase": [
        {"type": "message", "role": "assistant", "phase": "commentary", "content": "I should."},
        {"type": "message", "role": "assistant", "phase": "final_answer", "content": "Four."},
        {"type": "message", "role": "user", "content": "Repeat only the number."},
    ],
    "system-prompt": [
        {"type": "message", "role": "system", "content": "You are a pirate."},
        {"type": "message", "role": "user", "content": "Say hello."},
    ],
    "multi-turn": [
        {"type": "message", "role": "user", "content": "My name is Alice."},
        {"type": "message", "role": "assistant", "content": "Hello Alice!"},
        {"type": "message", "role": "user", "content": "What is my name?"},
    ],
}


@pytest.mark.parametrize("name", SAID)
async def test_text(tmp_path: Path, name: str) -> None:
    api = ResponsesHarness(tmp_path)
    response = await api.respond(model=MODEL, input=SAID[name])
    check_response(response)
    assert response["status"] == "completed"


async def test_a_stream(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"model": MODEL, "input": SAID["basic"], "stream": True}
    told = events((await api.call("POST", RESPONSES, json=body)).text)
    for name, event in told:
        assert isinstance(event["sequence_number"], int)
        if "response" in event and name != "response.completed":
            check(event["response"], RESPONSE)
    assert told[-1][0] == "response.completed"
    check_response(told[-1][1]["response"])


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_of_tools(tmp_path: Path, stream: bool) -> None:
    api = ResponsesHarness(tmp_path, script=lambda _: [CALLED])
    body = {"model": MODEL, "input": "Rain?", "tools": [WEATHER], "stream": stream}
    response = await api.call("POST", RESPONSES, json=body)
    if not stream:
        answer = response.json()
    else:
        told = events(response.text)
        names = [name for name, _ in told]
        start = "response.function_call_arguments"
        assert {f"{start}.delta", f"{start}.done"} < set(names)
        for name in ("added", "done"):
            (item,) = [each["item"] for kind, each in told if kind.endswith(f"item.{name}")]
            assert item["type"] == "function_call"
        answer = told[-1][1]["response"]
    check_response(answer)
    assert answer["output"][0]["type"] == "function_call"
    assert answer["tools"] == [WEATHER | {"strict": None}]


async def test_compactions(tmp_path: Path) -> None:
    api = Compacting(tmp_path)
    said = [
        {"type": "message", "role": "user", "content": "We launch on Tuesday."},
        {"type": "message", "role": "assistant", "content": "Understood."},
    ]
    compaction = await api.compact(input=said, prompt_cache_key="open-responses")
    form = {"id": str, "object": str, "created_at": int, "output": list, "usage": USAGE}
    check(compaction, form)
    assert compaction["object"] == "response.compaction"
    check_items(compaction["output"])
    assert compaction["output"][-1]["type"] == "compaction"
    refused = await api.call("POST", COMPACT, json={"input": said})
    assert refused.status_code == 400
