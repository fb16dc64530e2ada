"""Schemas whose values would have no end are told from those that may only be deep."""

import json

import pytest

from server.grammars.endless import check_ends
from server.grammars.forms import GrammarError, json_grammar, several

LIST = {"type": "array", "items": {"$ref": "#"}}
NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "value": {}},
    "required": ["next"],
}


def as_it_is(schema):
    """A grammar of a schema as the compiler gets it from who writes one in its form."""
    return json.dumps({"grammars": [{"json_schema": schema}]})


def needs(schema, **others):
    """An object that has something of a schema."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], **others}


@pytest.mark.parametrize(
    "schema",
    [
        needs({"$ref": "#"}),
        needs(needs({"$ref": "#/properties/a"})),
        needs({"$ref": "#/$defs/x~1y"}, **{"$defs": {"x/y": needs({"$ref": "#/$defs/x%7E1y"})}}),
        needs({"anyOf": [{"$ref": "#"}, {"$ref": "#/properties/a"}]}),
        {"allOf": [{"type": "object"}, {"$ref": "#"}]},
        LIST | {"minItems": 1},
        {"type": "array", "prefixItems": [{"$ref": "#"}, {}], "minItems": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_what_requires_itself_has_no_end(schema):
    for grammar in (as_it_is(schema), json_grammar(schema)):
        with pytest.raises(GrammarError, match="without end"):
            check_ends(grammar)
        lark = "start: /a/ calls" + "\ncalls: " + f"%json {json.dumps(schema)}" + ' "}"'
        with pytest.raises(GrammarError, match="without end"):
            check_ends(several(lark, other='start: "a"'))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        LIST,
        NODE,
        needs({"$ref": "#"}, type=["object", "null"]),
        needs({"enum": [1]}),
        needs(NODE | {"properties": {"next": {"$ref": "#/$defs/x"}}}, **{"$defs": {"x": {}}}),
        {"type": "array", "prefixItems": [{}, {"$ref": "#"}], "minItems": 1},
        {"anyOf": [needs({"$ref": "#"}), {"type": "null"}]},
        # For the compiler to complain of:
        needs({"$ref": "#/$defs/x"}),
        needs({"$ref": "http://x/y"}),
        {"type": "object", "properties": 3, "required": "a", "anyOf": 3, "$ref": []},
    ],
)
def test_what_may_stop_has_an_end(schema):
    check_ends(as_it_is(schema))


def test_many_references_are_followed_fast():
    names = [f"n{number}" for number in range(300)]
    definitions = {
        name: needs({"anyOf": [{"$ref": f"#/$defs/{other}"} for other in names]}) for name in names
    }
    schema = needs({"$ref": "#/$defs/n0"}, **{"$defs": definitions})
    with pytest.raises(GrammarError, match="without end"):
        check_ends(json.dumps({"grammars": [{"json_schema": schema}]}))
    definitions["n299"] = {"type": "null"}
    check_ends(json.dumps({"grammars": [{"json_schema": schema}]}))


def test_other_grammars_are_left_alone():
    check_ends('start: "a"')
    check_ends(json.dumps({"grammars": [{"lark_grammar": 'start: "a"'}]}))


@pytest.mark.parametrize(
    "text",
    [
        *("", "start: /a/", "{", '{"a": 1}', '{"grammars": 1}', '{"grammars": [1, {}]}'),
        as_it_is({"allOf": [{"$ref": f"#/allOf/{'9' * 5000}"}]}),
        as_it_is({"allOf": [{"$ref": "#/allOf/-1"}, {"$ref": "#/allOf/٣"}]}),
    ],
)
def test_of_what_is_no_such_grammar_the_compiler_tells(text):
    check_ends(text)
