"""Tools of responses that are no plain functions: namespaces, custom tools, hosted ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.api.responses.custom_input import CustomInput, as_arguments
from server.api.responses.tools import IGNORED_HEADER
from tests.api.harness import assert_error
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.test_response_events import events

pytestmark = pytest.mark.anyio

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
NAMESPACE = {
    "type": "namespace",
    "name": "agents",
    "description": "Others.",
    "tools": [FUNCTION | {"name": "close"}, {"type": "web_search"}, FUNCTION | {"name": "send"}],
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'},
}
HOSTED = [{"type": "web_search", "external_web_access": False}, {"type": "image_generation"}]
LOCAL_SHELL = {"type": "local_shell"}
SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
ALL = [FUNCTION, NAMESPACE, *HOSTED, PATCH, LOCAL_SHELL, SEARCH]


def calling(folder: Path, name: str, arguments: str) -> ResponsesHarness:
    """A model that makes this call, in small pieces."""
    call = f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
    pieces = [call[at : at + 3] for at in range(0, len(call), 3)]
    return ResponsesHarness(folder, script=lambda _: pieces)


async def test_the_model_is_offered_what_it_can_call(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"input": "hi", "tools": ALL}
    response = await api.call("POST", RESPONSES, json=body)
    assert response.status_code == 200, response.text
    assert response.headers[IGNORED_HEADER] == "web_search, image_generation, local_shell"
    tools = {
        each["function"]["name"]: each["function"] for each in api.template.variables[-1]["tools"]
    }
    assert list(tools) == ["f", "agents.close", "agents.send", "apply_patch", "tool_search"]
    assert tools["agents.close"]["parameters"] == {"type": "object"}
    patch = tools["apply_patch"]
    assert patch["parameters"]["required"] == ["input"]
    assert patch["description"].startswith("Edits files.\n")
    assert 'start: "x"' in patch["description"]
    assert api.worker.generated[-1].task.params.grammar == ""


async def test_tools_are_repeated_with_all_fields(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    response = await api.respond(tools=[{"type": "function", "name": "f"}, *HOSTED, PATCH])
    assert response["tools"][0] == {
        "type": "function",
        "name": "f",
        "description": None,
        "parameters": None,
        "strict": None,
    }
    assert response["tools"][1:] == [*HOSTED, PATCH]


@pytest.mark.parametrize(
    "asked", [{"stream": True}, {"background": True}, {"background": True, "stream": True}]
)
async def test_what_is_passed_over_is_said_however_it_is_answered(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"input": "hi", "tools": [{"type": "wéb\r\nsearch" + "x" * 99}, FUNCTION], **asked}
    response = await api.call("POST", RESPONSES, json=body)
    assert response.status_code == 200
    assert response.headers[IGNORED_HEADER] == "w?b??search" + "x" * 53
    await api.background.stop()


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("agents.close", "agents"), ("close", "agents"), ("f", None), ("g", None)],
)
async def test_a_call_has_the_name_that_the_client_gave_it(
    tmp_path: Path, name: str, namespace: str | None
) -> None:
    api = calling(tmp_path, name, '{"a": 1}')
    response = await api.respond(tools=ALL)
    (call,) = response["output"]
    assert call["type"] == "function_call"
    assert call["name"] == name.split(".")[-1]
    assert call.get("namespace") == namespace
    assert call["arguments"] == '{"a": 1}'


async def test_a_name_in_two_namespaces_is_not_guessed(tmp_path: Path) -> None:
    api = calling(tmp_path, "close", "{}")
    (call,) = (await api.respond(tools=[NAMESPACE, NAMESPACE | {"name": "b"}]))["output"]
    assert call["name"] == "close"
    assert "namespace" not in call


TEXT = '*** Begin\n+"wörld" \\ 😀\t/end'


@pytest.mark.parametrize("ascii_only", [True, False])
async def test_the_input_of_a_custom_tool_is_text_also_in_the_stream(
    tmp_path: Path, ascii_only: bool
) -> None:
    arguments = json.dumps({"input": TEXT}, ensure_ascii=ascii_only)
    api = calling(tmp_path, "apply_patch", arguments)
    body = {"input": "hi", "stream": True, "tools": [PATCH]}
    told = events((await api.call("POST", RESPONSES, json=body)).text)
    kinds = [name for name, _ in told]
    start = "response.custom_tool_call_input"
    deltas = [content for name, content in told if name == f"{start}.delta"]
    assert len(deltas) > 3
    assert "".join(each["delta"] for each in deltas) == TEXT
    done = told[kinds.index(f"{start}.done")][1]
    assert done["input"] == TEXT
    item = told[kinds.index("response.output_item.done")][1]["item"]
    assert item["type"] == "custom_tool_call"
    assert item["id"].startswith("ctc_")
    assert {"name": "apply_patch", "input": TEXT, "status": "completed"}.items() <= item.items()
    assert {each["item_id"] for each in (*deltas, done)} == {item["id"]}
    assert told[-1][1]["response"]["output"] == [item]
    assert "response.function_call_arguments.delta" not in kinds


async def test_the_next_turn_has_the_call_as_the_model_wrote_it(tmp_path: Path) -> None:
    api = calling(tmp_path, "apply_patch", as_arguments(TEXT))
    response = await api.respond(tools=[PATCH])
    (call,) = response["output"]
    output = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "ok"}
    api.template.rendered.clear()
    await api.respond(input=[output], previous_response_id=response["id"], tools=[PATCH])
    said = max(api.template.rendered, key=len)
    (function,) = [each["function"] for each in said[1]["tool_calls"]]
    assert function["name"] == "apply_patch"
    assert function["arguments"].as_json() == as_arguments(TEXT)
    result = {"role": "tool", "content": "ok", "tool_call_id": call["call_id"]}
    assert said[2] == result | {"name": "apply_patch"}


async def test_a_search_for_tools_is_the_clients_and_finds_tools_to_call(tmp_path: Path) -> None:
    api = calling(tmp_path, "tool_search", '{"query": "mail"}')
    (call,) = (await api.respond(tools=[SEARCH]))["output"]
    assert call["type"] == "tool_search_call"
    assert call["execution"] == "client"
    assert call["arguments"] == {"query": "mail"}
    found = {"type": "tool_search_output", "call_id": call["call_id"], "status": "completed"}
    found |= {"execution": "client", "tools": [NAMESPACE]}
    api = calling(tmp_path, "agents.send", "{}")
    (sent,) = (await api.respond(input=[call, found], tools=[SEARCH]))["output"]
    assert (sent["namespace"], sent["name"]) == ("agents", "send")


async def test_tools_that_come_as_an_item_are_offered(tmp_path: Path) -> None:
    api = calling(tmp_path, "apply_patch", as_arguments("x"))
    more = {"type": "additional_tools", "role": "developer", "tools": [PATCH]}
    response = await api.respond(input=[more, {"role": "user", "content": "hi"}])
    assert response["output"][0]["type"] == "custom_tool_call"
    assert max(api.template.rendered, key=len)[0]["role"] == "user"


async def test_tools_that_items_bring_again_are_those_of_the_last_one(tmp_path: Path) -> None:
    api = calling(tmp_path, "close", "{}")
    changed = NAMESPACE | {"tools": [FUNCTION | {"name": "close", "description": "New."}]}
    items = [{"type": "additional_tools", "tools": [each]} for each in (NAMESPACE, changed)]
    (call,) = (await api.respond(input=[*items, {"role": "user", "content": "hi"}]))["output"]
    assert (call["namespace"], call["name"]) == ("agents", "close")
    shown = [each["function"] for each in api.template.variables[-1]["tools"]]
    assert [each["name"] for each in shown] == ["agents.close", "agents.send"]
    assert shown[0]["description"] == "New."


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "x\ny"}}, "tool_choice.type"),
        ({"tools": HOSTED, "tool_choice": "required"}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": HOSTED}},
            "tool_choice.tools",
        ),
    ],
)
async def test_what_is_not_there_cannot_be_forced(
    tmp_path: Path, fields: dict[str, Any], param: str
) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"input": "hi", "tools": ALL, **fields}
    response = await api.call("POST", RESPONSES, json=body)
    error = assert_error(response, 400, "unsupported_parameter")
    assert error["param"] == param
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "function", "name": "close", "namespace": "agents"}, ["agents.close"]),
        ({"type": "function", "name": "agents.close"}, ["agents.close"]),
        ({"type": "function", "name": "close"}, ["agents.close"]),
        ({"type": "custom", "name": "apply_patch"}, ["apply_patch"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [*HOSTED, {"type": "namespace", "name": "agents"}, FUNCTION],
            },
            ["f", "agents.close", "agents.send"],
        ),
    ],
)
async def test_what_is_there_can_be_forced(tmp_path: Path, choice: Any, names: list[str]) -> None:
    api = ResponsesHarness(tmp_path)
    await api.respond(tools=ALL, tool_choice=choice)
    grammar = api.worker.generated[-1].task.params.grammar
    every = ("f", "agents.close", "agents.send", "apply_patch", "tool_search")
    assert [name for name in every if rf"\"name\": \"{name}\"" in grammar] == names


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({}, "tools[1].type"),
        ({"type": "namespace", "name": "a b", "tools": []}, "tools[1].name"),
        ({"type": "namespace", "name": "a"}, "tools[1].tools"),
        ({"type": "namespace", "name": "a", "tools": [3]}, "tools[1].tools[0]"),
        (NAMESPACE | {"tools": [FUNCTION, FUNCTION]}, "tools[1].tools[1].name"),
        (NAMESPACE | {"tools": [FUNCTION | {"name": ""}]}, "tools[1].tools[0].name"),
        (NAMESPACE | {"tools": [FUNCTION | {"parameters": 3}]}, "tools[1].tools[0].parameters"),
        (FUNCTION | {"name": ""}, "tools[1].name"),
        (PATCH | {"name": None}, "tools[1].name"),
        (PATCH | {"format": {"type": "grammar"}}, "tools[1].format"),
        (PATCH | {"format": 3}, "tools[1].format"),
        (PATCH | {"description": 3}, "tools[1].description"),
    ],
)
async def test_what_is_wrong_with_a_tool_is_named_where_it_is(
    tmp_path: Path, tool: Any, param: str
) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"input": "hi", "tools": [HOSTED[0], tool]}
    response = await api.call("POST", RESPONSES, json=body)
    error = assert_error(response, 400, "invalid_value")
    assert error["param"] == param
    assert error["message"].startswith(param)


async def test_a_pattern_of_a_custom_tool_is_kept_to(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    tool = {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "regex"}}
    tool["format"] |= {"definition": "[0-9]+"}
    await api.respond(tools=[tool])
    assert "[0-9]+" in api.worker.generated[-1].task.params.grammar
    tool["format"] |= {"definition": "(["}
    response = await api.call("POST", RESPONSES, json={"input": "hi", "tools": [tool]})
    error = assert_error(response, 400, "invalid_value")
    assert error["param"].startswith("tools[0]")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "a"}', "a"),
        ('{"input":"a\\u00e9\\n\\\\"}', "aé\n\\"),
        ('{"input": "\\\\ud83d"}', "\\ud83d"),
        ('{"input": "\\ud83d\\ude00"}', "😀"),
        ('{"input": "\\ud83dx"}', "�x"),
        ('{"input": "\\ud83d"}', "�"),
        ('{"input": "\\ude00"}', "�"),
        ('{"input": "cut', "cut"),
        ('{"input": "cut\\', "cut"),
        ('{"input": "cut\\ud83d', "cut"),
        ('{"input": "a\nb"}', "a\nb"),
        ('{"x": 1, "input": "a"}', "a"),
        ('{"patch": "a"}', '{"patch": "a"}'),
        ("{}", "{}"),
        ('{"input": 3}', '{"input": 3}'),
        ('{"input": "a", "b": "c"}', "a"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_input_is_decoded_alike_however_it_is_cut(arguments: str, text: str) -> None:
    for size in (1, 2, 5, 7, len(arguments)):
        decoder = CustomInput()
        pieces = [decoder.push(arguments[at : at + size]) for at in range(0, len(arguments), size)]
        assert "".join([*pieces, decoder.end()]) == decoder.text == text
