"""What is refused of tools, of variables for the chat template, and of messages to go on with."""

import json
from typing import Any

import pytest

from tests.api.answers import HELLO, TIME, TOOLS
from tests.api.harness import CHAT, Harness, assert_error

pytestmark = pytest.mark.anyio


def tool(**function: Any) -> list[dict[str, Any]]:
    """One tool with these fields of its function."""
    return [{"type": "function", "function": {"name": "f", **function}}]


DEEP: dict[str, Any] = {}
for _ in range(64):
    DEEP = {"properties": DEEP}
ASSISTANT = {"role": "assistant", "content": "a"}
NEEDED = "continue_final_message"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": {}}, "invalid_value", "tools"),
    ({"tools": TOOLS * 65}, "invalid_value", "tools"),
    ({"tools": [TIME, 1]}, "invalid_value", "tools[1]"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [TIME, {"type": "function"}]}, "invalid_value", "tools[1].function"),
    ({"tools": tool(name="a b")}, "invalid_value", "tools[0].function.name"),
    ({"tools": tool(name="a" * 65)}, "invalid_value", "tools[0].function.name"),
    ({"tools": [TIME, TIME]}, "invalid_value", "tools[1].function.name"),
    ({"tools": tool(description=1)}, "invalid_value", "tools[0].function.description"),
    ({"tools": tool(description="\ud800")}, "invalid_value", "tools"),
    ({"tools": tool(description="x" * (1 << 20))}, "invalid_value", "tools"),
    ({"tools": tool(parameters=DEEP)}, "invalid_value", "tools"),
    ({"chat_template_kwargs": {"x": DEEP}}, "invalid_value", "chat_template_kwargs"),
    ({"tools": tool(strict="yes")}, "invalid_value", "tools[0].function.strict"),
    ({"tools": tool(parameters=[])}, "invalid_value", "tools[0].function.parameters"),
    (
        {"tools": tool(parameters={"type": "array"})},
        "invalid_value",
        "tools[0].function.parameters",
    ),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"tools": TOOLS, "tool_choice": "any"}, "invalid_value", "tool_choice"),
    ({"tools": TOOLS, "tool_choice": tool()[0]}, "invalid_value", "tool_choice"),
    (
        {"tools": TOOLS, "tool_choice": {"type": "function"}},
        "invalid_value",
        "tool_choice.function.name",
    ),
    (
        {"tools": TOOLS, "tool_choice": {"type": "custom"}},
        "unsupported_parameter",
        "tool_choice.type",
    ),
    (
        {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        "invalid_value",
        "tool_choice.allowed_tools",
    ),
    ({"parallel_tool_calls": 1}, "invalid_value", "parallel_tool_calls"),
    ({"reasoning_effort": "much"}, "invalid_value", "reasoning_effort"),
    ({"enable_thinking": "yes"}, "invalid_value", "enable_thinking"),
    ({"documents": [{"text": "d"}]}, "unsupported_parameter", "documents"),
    ({"documents": ["d"]}, "invalid_value", "documents"),
    ({"chat_template_kwargs": []}, "invalid_value", "chat_template_kwargs"),
    (
        {"chat_template_kwargs": {"messages": []}},
        "invalid_value",
        "chat_template_kwargs.messages",
    ),
    (
        {"chat_template_kwargs": {"enable_thinking": "no"}},
        "invalid_value",
        "chat_template_kwargs.enable_thinking",
    ),
    ({NEEDED: True}, "invalid_value", NEEDED),
    ({NEEDED: True, "messages": [*HELLO, ASSISTANT | {"content": " "}]}, "invalid_value", NEEDED),
    (
        {NEEDED: True, "messages": [*HELLO, ASSISTANT], "add_generation_prompt": True},
        "invalid_value",
        "add_generation_prompt",
    ),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED)
async def test_refused_fields(fields: dict[str, Any], code: str, param: str) -> None:
    api = Harness()
    content = json.dumps({"messages": HELLO, **fields}).encode()
    error = assert_error(await api.post_bytes(CHAT, content), 400, code)
    assert error["param"] == param
    assert not api.worker.generated


async def test_tools_that_the_template_writes_in_its_own_way() -> None:
    api = Harness()
    api.template.call_syntax = None
    error = assert_error(
        await api.post(CHAT, messages=HELLO, tools=TOOLS), 400, "unsupported_parameter"
    )
    assert error["param"] == "tools"
    assert (await api.post(CHAT, messages=HELLO)).status_code == 200
