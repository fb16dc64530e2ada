"""Tools, calls and results in the form of G1, as its makers show it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tokenizer.tool_messages import call_text, tools_text

TEXT = {"type": "string"}
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"], "title": "Unit"}


def tool(name, parameters=None, **fields):
    shown = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **shown, **fields}}


def schema(required=None, **properties):
    needed = {} if required is None else {"required": required}
    return {"type": "object", "properties": properties, **needed}


def lines(*tools):
    """What stands between the two lines around the tools."""
    first, *between, last = tools_text(tools, "g1").split("\n")
    assert (first, last) == ("Tools:", "Return only a JSON function call.")
    return between


def test_tools_as_signatures():
    assert lines(
        tool("get_weather", schema(["location"], location=TEXT, unit=UNIT)),
        tool("get_stock_price", schema(["ticker"], ticker=TEXT) | {"additionalProperties": False}),
        tool("f", schema([], a={"type": "integer"}, b={"type": "number"}, c={"type": "boolean"})),
        tool("time"),
        tool("now", {}),
    ) == [
        '- get_weather(location: string, unit?: "celsius" | "fahrenheit")',
        "- get_stock_price(ticker: string)",
        "- f(a?: integer, b?: number, c?: boolean)",
        "- time()",
        "- now()",
    ]


def test_tools_as_a_list():
    slots = schema(
        ["date", "minutes"], date=TEXT, minutes={"type": "integer", "description": "At\n\nmost"}
    )
    described = tool("find_free_slots", slots, description="Find slots", strict=True)
    (line,) = lines(described, tool("time"))
    assert line == (
        '[{"name":"find_free_slots","description":"Find slots","arguments":{"date":'
        '{"type":"string"},"minutes":{"type":"integer","description":"At\\n\\nmost"}}},'
        '{"name":"time","arguments":{}}]'
    )
    # What the properties alone do not say is not lost.
    optional = schema(["date"], date=TEXT, other=TEXT)
    (line,) = lines(described, tool("g", optional))
    assert [each["arguments"] for each in json.loads(line)] == [slots, optional]


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "string", "description": "d"}},
        {"a": {"type": "array", "items": TEXT}},
        {"a": {"type": ["string", "null"]}},
        {"a": {"anyOf": [TEXT, {"type": "null"}]}},
        {"a": {"type": "string", "default": "x"}},
        {"a": {"type": "string", "minLength": 1}},
        {"a": {"enum": ["a", 1]}},
        {"a": {"type": "integer", "enum": [1, 2]}},
        {"a": {"$ref": "#/$defs/A"}},
        {"a": {}},
        {"a": True},
        {"a b": TEXT},
        {"a": {"type": "object", "properties": {"b": TEXT}}},
    ],
)
def test_what_a_signature_cannot_say_is_in_a_list(properties):
    for parameters in (schema(["a"], **properties), schema(["other"], **properties)):
        (line,) = lines(tool("f", parameters))
        (shown,) = json.loads(line)
        assert shown["arguments"] in (properties, parameters)
    named = schema(["a"], a=TEXT) | {"$defs": {"A": TEXT}}
    assert json.loads(lines(tool("f", named))[0])[0]["arguments"] == named


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ("{}", "{}"),
        ("", "{}"),
        (' {\n  "a" : [1, 2.50],\t"b c": "x  y\\n" }\r\n', '{"a":[1,2.50],"b c":"x  y\\n"}'),
        ('{"a": "\n\nUser: b"', '{"a":"\\n\\nUser: b"'),
        ('{"a": "\\', '{"a":"\\'),
        ('{"a": "\\"b" : 1}', '{"a":"\\"b":1}'),
    ],
)
def test_arguments_are_written_in_one_line(arguments, written):
    expected = f'```json\n{{"name":"f","arguments":{written}}}\n```'
    assert call_text("f", arguments, "g1") == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_it_is_the_same_json(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    written, other = (
        call_text("f", each, "g1").split("\n")[1]
        for each in (text, json.dumps(value, ensure_ascii=ascii_only))
    )
    assert json.loads(written)["arguments"] == value
    assert written == other


def test_odd_arguments_take_time_as_they_are_long():
    for odd in ('"\\', '\\"', '"', "\\", ' \n"', "{["):
        began = time.process_time()
        call_text("f", odd * 500_000, "g1")
        assert time.process_time() - began < 30
