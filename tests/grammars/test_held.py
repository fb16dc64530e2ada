"""Schemas that libraries write are kept to in other words, or refused in the user's."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.grammars.errors import MAX_BYTES, GrammarError
from server.grammars.forms import json_grammar
from server.grammars.schemas.document import ASSERTIONS
from server.grammars.schemas.held import held_schema
from server.tokenizer.bytes import ByteTokenizer
from tests.grammars.corpus.trial import VOCABULARY, tried, validator_of
from tests.grammars.outputs import accepts
from tests.grammars.test_closed import OPEN, SHUT

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
CAT = {
    "type": "object",
    "properties": {"kind": {"const": "cat"}, "lives": INTEGER},
    "required": ["kind"],
}
DOG = {
    "type": "object",
    "properties": {"kind": {"enum": ["dog", "pup"]}, "name": STRING},
    "required": ["kind"],
}
PETS = {"$defs": {"Cat": CAT, "Dog": DOG}}
AB = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N", "x-y": 1}}}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "object", "propertyNames": STRING, "additionalProperties": INTEGER},
         ["{}", '{"k": 1}'], ['{"k": ""}']),
        ({"type": "object", "propertyNames": {"pattern": "^k"}}, ['{"k1": 2}'], ['{"x": 1}']),
        ({"propertyNames": {"enum": ["l", "r"]}, "type": "object", "required": ["l", "r"],
          "additionalProperties": INTEGER}, ['{"l": 1, "r": 2}'], ['{"l": 1}', '{"x": 1}']),
        ({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], **PETS},
         ['{"kind": "cat", "lives": 9}', '{"kind": "pup", "name": ""}'], ['{"kind": "cow"}']),
        ({"oneOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}], **PETS},
         ["null", '{"kind": "cat"}'], ["{}"]),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], **AB},
         ['{"a": 1}', '{"b": 1}'], ["{}", '{"a": 1, "b": 1}']),
        ({**AB, "required": ["a", "c"]}, ['{"a": 1, "c": [null]}'], ['{"a": 1}']),
        ({**AB, "required": ["c"], "additionalProperties": STRING}, ['{"c": "x"}'], ['{"c": 1}']),
        ({"type": "array", "items": INTEGER, "uniqueItems": False}, ["[1, 1]"], ["1"]),
        ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True},
         ["[]", "[2]", "[1, 2]"], ["[1, 1]", "[1, 2, 1]"]),
        ({"type": "array", "items": STRING, "uniqueItems": True, "maxItems": 1}, ['["a"]'], []),
        ({**AB, "dependentRequired": {}}, ["{}"], []),
        ({**AB, "dependentRequired": {"a": ["b"]}}, ["{}", '{"b": 1}', '{"a": 1, "b": 1}'],
         ['{"a": 1}']),
        ({**AB, "dependencies": {"a": {"required": ["b"]}}}, ['{"b": 1}'], ['{"a": 1}']),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
         ["-9007199254740993", "9000000000000000000"], ["9300000000000000000"]),
        ({"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38},
         ["-1.5", "1000000000000000000"], ['"a"']),
        ({"$ref": "#/$defs/A<B é>", "$defs": {"A<B é>": INTEGER}}, ["1"], ["null"]),
        ({"$ref": "#/definitions/a~1b%20c", "definitions": {"a/b c": INTEGER}}, ["1"], ["null"]),
        ({"$ref": "#/components/schemas/A", "components": {"schemas": {"A": INTEGER}}}, ["1"],
         ["null"]),
        ({"$ref": "#/$defs/N", "$defs": {"N": NODE}}, ['{"next": {"next": {}}}'], ['{"next": 1}']),
        ({"type": "string", "format": "binary"}, ['"x"'], []),
        ({"type": "string", "format": "uuid4"}, ['"0b6cbd0d-6d1c-4d2b-9c8e-1d2b3c4d5e6f"'],
         ['"x"', '"0b6cbd0d-6d1c-1d2b-9c8e-1d2b3c4d5e6f"']),
        ({"type": "string", "format": "password", "minLength": 2.0}, ['"xy"'], ['"x"']),
        ({"properties": {"a": INTEGER}}, ["{}", '{"a": 1}'], ["1", "null", "[]"]),
        ({**AB, "properties": {"a": INTEGER, "b": {"not": {}}}}, ['{"a": 1}'], ['{"b": 1}']),
        ({**AB, "minProperties": 1, "required": []}, ['{"a": 1}', '{"b": 2}'], ["{}"]),
        ({**AB, "not": {"required": ["b"]}}, ['{"a": 1}'], ['{"b": 1}']),
        ({"type": ["string", "null"], "not": {"type": "null"}}, ['"a"'], ["null"]),
        ({"enum": [1, 2, 3], "not": {"const": 2}}, ["1", "3"], ["2"]),
        ({"type": "array", "items": INTEGER, "contains": {"minimum": 5}, "maxItems": 3},
         ["[7, 1]"], ["[]", "[1]"]),
        ({"type": "object", "properties": {"k": {"enum": ["x", "y"]}, "v": INTEGER},
          "required": ["k"], "if": {"properties": {"k": {"const": "x"}}, "required": ["k"]},
          "then": {"required": ["v"]}}, ['{"k": "y"}', '{"k": "x", "v": 1}'], ['{"k": "x"}']),
        ({"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]{2,3}$"}, ['"a1"'], ['"ab"', '"1"']),
        ({"type": "string", "nullable": True, "enum": [None]}, ["null"], ['""']),
        ({"type": "object", "unevaluatedProperties": False, "properties": {"a": INTEGER}},
         ['{"a": 1}'], ['{"b": 1}']),
        ({"$schema": "https://spec.openapis.org/oas/3.1/dialect/base", **INTEGER}, ["1"], ["null"]),
        ({"type": "array", "prefixItems": [INTEGER], "additionalItems": False, "minItems": 2},
         ['[1, "x"]'], ["[1]"]),
    ],
)  # fmt: skip
def test_what_is_satisfiable_works(schema, right, wrong):
    grammar = json_grammar(schema)
    for text in right:
        assert accepts(grammar, VOCABULARY, ByteTokenizer(), text), text
    for text in wrong:
        assert not accepts(grammar, VOCABULARY, ByteTokenizer(), text), text
    why, texts = tried(schema, 8, 15)
    assert not why
    for text in texts:
        assert validator_of(schema).is_valid(json.loads(text)) or "nullable" in schema, text


@pytest.mark.parametrize(
    ("schema", "where", "advice"),
    [
        ({"properties": {"tags": {"type": "array", "uniqueItems": True}}},
         "properties.tags.uniqueItems: ", "maxItems to 1"),
        ({"items": {"oneOf": [INTEGER, {"type": "number"}]}}, "items.oneOf: ", "anyOf"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "strnig"}}}, "$defs.A.type: ", "'strnig'"),
        ({"properties": {"a": {"$ref": "#/$defs/B"}}}, "properties.a.$ref: ", "into $defs"),
        ({"$ref": "http://127.0.0.1:1/x"}, "$ref: ", "points to nothing within the schema"),
        ({"anyOf": [STRING, {"enum": []}]}, "anyOf[1].enum: ", "at least one value"),
        ({"type": "string", "pattern": "(?<!a)b"}, "pattern: ", "without them"),
        ({"type": "string", "pattern": r"\bword\b"}, "pattern: ", "word boundaries"),
        ({"type": "string", "maxLength": -1}, "maxLength: ", "got -1"),
        ({"type": "number", "multipleOf": 0.07}, "multipleOf: ", "such as 0.01"),
        ({"type": "string", "not": {"const": "a"}}, "not: ", "an enum"),
        ({"if": {"minLength": 1}, "then": {"maxLength": 2}}, "if: ", "anyOf"),
        ({**SHUT, "required": ["b"]}, "required: ", "'b' is required and not allowed"),
        ({"properties": 3}, "properties: ", "an object"),
        ({"anyOf": 3}, "anyOf: ", "a list of schemas"),
        ({"items": 3}, "items: ", "a schema"),
        ({"const": 2**53 + 1}, "const: ", "2^53"),
        ({"contains": STRING, "minContains": 2}, "contains: ", "prefixItems"),
        ({"not": {}}, "", "no output is possible"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_to_is_refused_in_the_users_words(schema, where, advice):
    with pytest.raises(GrammarError) as refused:
        held_schema(schema)
    assert str(refused.value).startswith(where)
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        SHUT, {"type": "array", "items": SHUT}, {"anyOf": [SHUT, {"type": "null"}]},
        {"$defs": {"N": SHUT}, "$ref": "#/$defs/N", "title": "N"}, {"type": "object"}, {},
        {"type": "string", "format": "date", "description": "d", "default": None},
        {"$schema": "http://json-schema.org/draft-07/schema#", **SHUT, "definitions": {"a": {}}},
    ],
)  # fmt: skip
def test_what_the_compiler_takes_stays_as_it_is(schema):
    assert json.dumps(held_schema(schema)) == json.dumps(schema)


def test_one_schema_in_all_of_is_that_schema():
    schema = {"properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}], "description": "d"}}}
    held = held_schema({"type": "object", **schema, "$defs": {"A": OPEN}})
    assert held["properties"]["a"] == {"$ref": "#/$defs/A", "description": "d"}
    assert held["additionalProperties"] is False


KEYWORDS = [*sorted(ASSERTIONS), "$defs", "$id", "$anchor", "$schema", "nullable", "x"]
JUNK = st.recursive(
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 1, 2, 1.5, 1e308, float("inf"), 2**64, "", "a", "#"),
            *("#/$defs/a", "object", "string", "integer", "array", "(", "^(?=a)b", "date"),
        ]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*KEYWORDS, "a", "b"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(schema=st.dictionaries(st.sampled_from(KEYWORDS), JUNK, min_size=1, max_size=5))
def test_whatever_comes_is_held_or_refused(schema):
    with contextlib.suppress(GrammarError):
        assert isinstance(held_schema(schema), dict)


DEEP = {f"a{n}": {"oneOf": [{"$ref": f"#/$defs/a{(n + k) % 9}"} for k in range(1, 9)]}
        for n in range(9)}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"oneOf": [{"$ref": "#/$defs/a0"}, {"$ref": "#/$defs/a1"}], "$defs": DEEP}, "complex"),
        ({"type": "string", "pattern": "^" + "(?=a)" * 20_000}, "look-around"),
        ({"type": "string", "pattern": "^(?=" + "[" * 60_000}, "look-around"),
        ({"enum": ["a"], "description": "x" * MAX_BYTES}, "longer than"),
        ({"type": "string", "not": {"anyOf": [{"const": str(n)} for n in range(2000)]},
          "enum": [str(n) for n in range(2000)]}, "complex"),
        ({**AB, "dependentRequired": {f"p{n}": ["a"] for n in range(2000)}}, "too many"),
    ],
)  # fmt: skip
def test_hostile_schemas_are_refused_in_time(schema, why):
    with pytest.raises(GrammarError, match=why):
        held_schema(schema)
