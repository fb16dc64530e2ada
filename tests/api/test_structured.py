"""What requests want their output to be like, as the worker gets it, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from server.grammars.checker import GrammarChecker
from server.grammars.forms import after_space, choice_grammar, json_grammar, regex_grammar
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error

pytestmark = pytest.mark.anyio

BODIES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "hi"},
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
}
SCHEMA = {"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}}
LARK = 'start: "a" | "b"'
ENDLESS = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHECKER = GrammarChecker()


@pytest.fixture
def api() -> Harness:
    harness = Harness()
    service = harness.app.state.service
    harness.app.state.service = replace(service, grammars=CHECKER)
    return harness


def of_schema(schema: Any, **others: Any) -> dict[str, Any]:
    """OpenAI's field for a schema."""
    named = {"name": "x", "schema": schema, **others}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def outputs(**fields: Any) -> dict[str, Any]:
    return {"structured_outputs": fields}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({}, ""),
        ({"response_format": None, "guided_regex": "", "grammar": ""}, ""),
        ({"response_format": {"type": "text"}}, ""),
        ({"response_format": {"type": "json_object"}}, json_grammar({"type": "object"})),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, json_grammar(SCHEMA)),
        (of_schema(SCHEMA, strict=True), json_grammar(SCHEMA)),
        (of_schema(SCHEMA, strict=False, description="x"), json_grammar(SCHEMA)),
        (of_schema(None), json_grammar({"type": "object"})),
        ({"guided_json": SCHEMA, "response_format": {"type": "text"}}, json_grammar(SCHEMA)),
        ({"guided_json": json.dumps(SCHEMA)}, json_grammar(SCHEMA)),
        ({"guided_json": {}}, json_grammar({})),
        ({"json_schema": SCHEMA}, json_grammar(SCHEMA)),
        ({"guided_regex": "a+"}, regex_grammar("a+")),
        ({"guided_choice": ["a", "b"]}, choice_grammar(["a", "b"])),
        ({"guided_grammar": LARK}, LARK),
        ({"grammar": LARK}, LARK),
        ({"grammar": 'root ::= "a"'}, '%llguidance {}\n\nstart: "a"\n'),
        (outputs(json=SCHEMA, json_object=False, whitespace_pattern=None), json_grammar(SCHEMA)),
        (outputs(regex="a+"), regex_grammar("a+")),
        (outputs(choice=["a"]), choice_grammar(["a"])),
        (outputs(grammar=LARK), LARK),
        (outputs(json_object=True), json_grammar({"type": "object"})),
        (outputs(), ""),
    ],
)
async def test_every_field_becomes_a_grammar(
    api: Harness, path: str, fields: dict[str, Any], grammar: str
) -> None:
    response = await api.post(path, **BODIES[path], **fields)
    assert response.status_code == 200, response.text
    expected = after_space(grammar) if grammar and path == CHAT else grammar
    assert api.worker.generated[0].task.params.grammar == expected


async def test_a_prompt_that_ends_with_a_blank_leaves_no_room_for_another(api: Harness) -> None:
    api.template.render = lambda *_, **__: "assistant:\n"  # type: ignore[method-assign]
    await api.post(CHAT, **BODIES[CHAT], guided_regex="a")
    assert api.worker.generated[0].task.params.grammar == regex_grammar("a")


@pytest.mark.parametrize("reasoning", ["on", "off"])
@pytest.mark.parametrize("tools", [[], [TOOL]])
async def test_it_goes_with_tools_and_thoughts(reasoning: str, tools: list[Any]) -> None:
    """As one grammar, that the compiler takes."""
    harness = Harness({"model": {"reasoning": reasoning}})
    service = harness.app.state.service
    harness.app.state.service = replace(service, grammars=CHECKER)
    for fields in (of_schema(SCHEMA), {"guided_regex": "a+"}, {"grammar": LARK}):
        response = await harness.post(CHAT, **BODIES[CHAT], **fields, tools=tools)
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("fields", "param", "why"),
    [
        ({"response_format": "json"}, "response_format", "object"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "needed"),
        (
            of_schema({"uniqueItems": True, "type": "array"}),
            "response_format.json_schema.schema",
            "uniqueItems",
        ),
        (
            of_schema({"uniqueItems": True, "type": "array"}, strict=False),
            "response_format.json_schema.schema",
            "uniqueItems",
        ),
        (of_schema([]), "response_format.json_schema.schema", "dictionary"),
        ({"guided_json": "{"}, "guided_json", "JSON schema"),
        ({"guided_json": "[" * 100_000}, "guided_json", "JSON schema"),
        ({"guided_json": "3"}, "guided_json", "dictionary"),
        ({"guided_json": {"type": "foo"}}, "guided_json", "foo"),
        ({"guided_regex": "("}, "guided_regex", "unclosed"),
        ({"guided_regex": "a" * 200_000}, "guided_regex", "131072 bytes"),
        ({"guided_choice": []}, "guided_choice", "at least one"),
        ({"guided_choice": [1]}, "guided_choice.0", "string"),
        ({"guided_grammar": "start: x"}, "guided_grammar", "unknown name"),
        ({"grammar": '{"grammars": [{"json_schema": {}}]}'}, "grammar", "Lark"),
        ({"json_schema": {"enum": []}}, "json_schema", "enum"),
        ({"guided_json": ENDLESS}, "guided_json", "without end"),
        (outputs(json={"not": {}}), "structured_outputs.json", "no output"),
        (outputs(structural_tag="x"), "structured_outputs.structural_tag", "not permitted"),
        (outputs(regex="a", json_object=True), "structured_outputs.json_object", "regex"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "guided_regex"),
        (
            {"response_format": {"type": "json_object"}, "grammar": LARK},
            "grammar",
            "response_format",
        ),
        ({"guided_whitespace_pattern": " "}, "guided_whitespace_pattern", "not supported"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(
    api: Harness, path: str, fields: dict[str, Any], param: str, why: str
) -> None:
    response = await api.post(path, **BODIES[path], **fields)
    code = "unsupported_parameter" if "whitespace" in param else "invalid_value"
    error = assert_error(response, 400, code)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert why in error["message"]
    assert not api.worker.generated


async def test_a_tool_whose_schema_cannot_be_kept_is_named(api: Harness) -> None:
    bad = {
        "name": "g",
        "parameters": {"type": "object", "properties": {"a": {"uniqueItems": True}}},
    }
    tools = [TOOL, {"type": "function", "function": bad}]
    response = await api.post(CHAT, **BODIES[CHAT], tools=tools, tool_choice="required")
    error = assert_error(response, 400, "invalid_value")
    assert error["param"] == "tools[1].function.parameters"
    where = "tools[1].function.parameters: properties.a.uniqueItems: "
    assert error["message"].startswith(where)


async def test_when_many_grammars_wait_the_next_one_comes_again(api: Harness) -> None:
    busy = GrammarChecker()
    busy._waiting = 10**6
    api.app.state.service = replace(api.app.state.service, grammars=busy)
    response = await api.post(CHAT, **BODIES[CHAT], guided_regex="a")
    assert_error(response, 429, "queue_full")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "g"}}])
async def test_a_tool_whose_arguments_have_no_end_is_named(api: Harness, choice: Any) -> None:
    node = {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "required": ["n"]}
    endless = {"name": "g", "parameters": {**node, "$defs": {"N": node}}}
    tools = [TOOL, {"type": "function", "function": endless}]
    response = await api.post(CHAT, **BODIES[CHAT], tools=tools, tool_choice=choice)
    error = assert_error(response, 400, "invalid_value")
    assert error["param"] == "tools[1].function.parameters"
    assert "refers to itself without end" in error["message"]
    only = {"type": "function", "function": {"name": "f"}}
    response = await api.post(CHAT, **BODIES[CHAT], tools=tools, tool_choice=only)
    assert response.status_code == 200  # the other tool is not called


async def test_annotations_of_tools_are_no_reason_to_refuse(api: Harness) -> None:
    properties = {
        "path": {"type": "string", "format": "path", "x-order": 1, "deprecated": True},
        "size": {"type": "integer", "format": "uint64", "minimum": 0, "maximum": 2**64 - 1},
        "map": {"type": "object", "propertyNames": {"type": "string"}, "uniqueItems": False},
    }
    parameters = {"$schema": "https://a.b/c", "$id": "f", "properties": properties}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        response = await api.post(CHAT, **BODIES[CHAT], tools=[tool], tool_choice=choice)
        assert response.status_code == 200, response.text
