"""Items of clients' and other servers' own kinds: what the model sees of a history with them."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from server.api.schemas.items import OtherKind
from tests.api.harness import assert_error
from tests.api.responses_harness import CONVERSATIONS, RESPONSES, ResponsesHarness
from tests.api.test_response_items import ITEM, messages

pytestmark = pytest.mark.anyio

ACTION = {"type": "exec", "command": ["ls", "-l"], "timeout_ms": None}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
USER = {"role": "user", "content": "hi"}


def output(call: str, text: str) -> dict[str, Any]:
    """A result as the model sees it."""
    return {"role": "tool", "tool_call_id": call, "content": text}


def call(ident: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A call as the model sees it."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    calls = [{"id": ident, "type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            [
                {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "é\n"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
            ],
            [call("c", "patch", {"input": "é\n"}), output("c", "ok")],
        ),
        (
            [
                {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n"}
                | {"arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [IMAGE]},
            ],
            [call("c", "n.f", {}), output("c", "[image]")],
        ),
        (
            [
                {"type": "local_shell_call", "call_id": "c", "status": "completed"}
                | {"action": ACTION},
                {"type": "function_call_output", "call_id": "c", "output": "a\nb"},
            ],
            [call("c", "local_shell", ACTION), output("c", "a\nb")],
        ),
        (
            [
                {"type": "local_shell_call", "id": "lsh_1", "action": ACTION},
                {"type": "local_shell_call_output", "id": "lsh_1", "output": "a"},
            ],
            [call("lsh_1", "local_shell", ACTION), output("lsh_1", "a")],
        ),
        (
            [
                {"type": "tool_search_call", "call_id": "c", "execution": "client"}
                | {"arguments": {"query": "x"}},
                {"type": "tool_search_output", "call_id": "c", "status": "completed"}
                | {"execution": "client", "tools": [{"type": "function", "name": "g"}]},
            ],
            [
                call("c", "tool_search", {"query": "x"}),
                output("c", '[{"type": "function", "name": "g"}]'),
            ],
        ),
        (
            [
                {"type": "web_search_call", "id": "ws_1", "status": "completed"}
                | {"action": {"type": "search", "query": "x"}},
            ],
            [
                call("ws_1", "web_search", {"type": "search", "query": "x"}),
                output("ws_1", "completed"),
            ],
        ),
        (
            [
                {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
                | {"revised_prompt": "a cat", "result": "AAAA"},
            ],
            [
                call("ig_1", "image_generation", {"revised_prompt": "a cat"}),
                output("ig_1", "[image]"),
            ],
        ),
        (
            [
                {"type": "mcp_call", "id": "m", "server_label": "s", "name": "f"}
                | {"arguments": '{"a": 1}', "output": None, "error": "no"},
            ],
            [call("m", "s.f", {"a": 1}), output("m", "no")],
        ),
        (
            [
                {"type": "code_interpreter_call", "id": "ci", "code": "1"}
                | {"outputs": [{"type": "logs", "logs": "1"}]},
            ],
            [
                call("ci", "code_interpreter", {"code": "1"}),
                output("ci", '[{"type": "logs", "logs": "1"}]'),
            ],
        ),
        (
            [
                {"type": "compaction", "encrypted_content": "gAAAA"},
                {"type": "compaction_summary", "encrypted_content": "gAAAA"},
                {"type": "context_compaction", "encrypted_content": "gAAAA"},
                {"type": "compaction_trigger"},
                {"type": "additional_tools", "role": "developer", "tools": []},
                {"type": "ghost_snapshot", "ghost_commit": {"id": "1"}},
                {"type": "mcp_list_tools", "id": "x", "server_label": "s", "tools": []},
                USER,
            ],
            [USER],
        ),
        (
            [{"type": "reasoning", "summary": [], "content": [{"type": "text", "text": "hm"}]}],
            [{"role": "assistant", "content": "", "reasoning_content": "hm"}],
        ),
    ],
)
def test_the_model_sees_calls_and_outputs(items: Any, expected: Any) -> None:
    assert messages(*items) == expected


@pytest.mark.parametrize("kind", ["web_search_call", "tool_search_output", "mcp_call"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [{"type": 3}]])
def test_fields_of_any_form_make_some_text(kind: str, value: Any) -> None:
    names = ("action", "arguments", "name", "call_id", "status", "tools", "server_label", "results")
    item = {"type": kind} | dict.fromkeys(names, value)
    for message in messages(item):
        assert isinstance(message["content"], str)


async def test_a_history_with_all_kinds_is_kept_and_gone_on_from(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    items = [
        {"type": "local_shell_call", "call_id": "c", "status": "completed", "action": ACTION},
        {"type": "local_shell_call_output", "id": "c", "output": "a"},
        {"type": "ghost_snapshot", "ghost_commit": {"id": "1"}},
        USER,
    ]
    response = await api.respond(input=items)
    kept = await api.ask("GET", f"{RESPONSES}/{response['id']}/input_items?order=asc")
    assert [each["type"] for each in kept["data"]] == [
        "local_shell_call", "local_shell_call_output", "ghost_snapshot", "message",
    ]  # fmt: skip
    assert kept["data"][0]["action"] == ACTION
    assert len({each["id"] for each in kept["data"]}) == len(items)
    await api.respond(previous_response_id=response["id"])
    assert [role for role, _ in api.last_messages][:3] == ["assistant", "tool", "user"]


async def test_an_image_is_refused_where_it_is_asked_about_and_named_in_a_history(
    tmp_path: Path,
) -> None:
    api = ResponsesHarness(tmp_path)
    file = {"type": "input_file", "filename": "a.pdf", "file_data": "AAAA"}
    question = {"role": "user", "content": [{"type": "input_text", "text": "see"}, IMAGE, file]}
    refused = await api.call("POST", RESPONSES, json={"input": [USER, question]})
    error = assert_error(refused, 400, "unsupported_content")
    assert error["param"] == "input.1.content.1"
    assert "input_image" in error["message"]
    api.template.rendered.clear()
    response = await api.respond(input=[question, USER])
    assert api.last_messages[0] == ("user", "see\n[image]\n[file a.pdf]")
    kept = await api.ask("GET", f"{RESPONSES}/{response['id']}/input_items?order=asc")
    assert kept["data"][0]["content"][1]["type"] == "input_image"
    assert "AAAA" not in json.dumps(kept)
    for path in (CONVERSATIONS, f"{CONVERSATIONS}/conv_1/items"):
        refused = await api.call("POST", path, json={"items": [question, USER]})
        assert_error(refused, 400, "unsupported_content")


def test_every_kind_has_something_that_is_made_of_it() -> None:
    for kind in get_args(OtherKind):
        messages({"type": kind}, USER)
        assert ITEM.validate_python({"type": kind}).type == kind
