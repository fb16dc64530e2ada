"""Each form of a grammar says what it should, in each kind of vocabulary."""

import json
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance.gbnf_to_lark import gbnf_to_lark

from server.grammars.compiling import make_vocabulary, validate_grammar
from server.grammars.forms import (
    GrammarError,
    after_space,
    choice_grammar,
    is_gbnf,
    json_grammar,
    plain_gbnf,
    regex_grammar,
    several,
)
from server.tokenizer.bytes import ByteTokenizer
from tests.grammars.outputs import LOGITS, accepts, make_tokenizer, random_output

NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["name", "next"],
    "additionalProperties": False,
}
SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "the cat": {"type": "string", "minLength": 1, "maxLength": 9},
            "sat": {"type": "integer", "minimum": -5, "maximum": 1000},
            "on": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4},
            "mat": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["the cat", "on"],
        "additionalProperties": False,
    },
    "enum": {"enum": ["the cat", "über", '"\\\n', 12, None, {"a": [1, "x"]}]},
    "any of": {"anyOf": [{"type": "null"}, {"const": "中文 😀"}, {"type": "boolean"}]},
    "pattern": {"type": "string", "pattern": "^[a-c]{2,5}-\\d{2}$"},
    "recursive": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "format": {"type": "string", "format": "date"},
    "tuple": {"type": "array", "prefixItems": [{"const": 1}, {"const": "b"}], "items": False},
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 40}]},
}  # fmt: skip
REGEXES = [
    "(yes|no)",
    "^[a-z]{1,8}$",
    r"\d{3}-\d{4}",
    "a/b\\/c",
    '"[^"]{0,5}"',
    "the (cat|dog) \\$\\d{1,3}",
    "über|中文|😀{1,3}",
    "a\nb",
    "",
    "^a|b$",
]
CHOICES = [
    ["yes", "no"],
    ["a", "ab"],
    ["😀é", 'a\n"b\\'],
    ["", "x"],
    ["<a>", "/x/"],
    ["the cat"] * 2,
]
GBNF = {
    'root ::= "a" | [b-d]+ "\\n"': (["a", "bdc\n"], ["", "ab", "b"]),
    'root ::= "\\u0041\\U0001F600" [^\\u0000-\\u001f"]': (["A😀x", "A😀é"], ["A😀\n", 'A😀"']),
    'root ::= item (", " item)* # some\nitem ::= "\\"" [a-z]{1,3} "\\""': (
        ['"a", "bcd"'],
        ['"a",'],
    ),
    'root ::= ("(" root ")" | "x")?': (["", "x", "((x))"], ["((x)"]),
}
BYTES = make_vocabulary(ByteTokenizer(), 256), ByteTokenizer()


@pytest.fixture(scope="module", params=LOGITS)
def kind(request, tmp_path_factory):
    """A tokenizer, and what llguidance makes of it."""
    tokenizer = make_tokenizer(request.param, tmp_path_factory.mktemp("tokenizer"))
    return make_vocabulary(tokenizer, LOGITS[request.param]), tokenizer


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_is_valid_and_in_one_line(kind, name):
    for seed in range(6):
        text = random_output(json_grammar(SCHEMAS[name]), *kind, seed)
        jsonschema.validate(json.loads(text), SCHEMAS[name])
        assert "\n" not in text


def test_json_may_have_a_space_where_it_is_custom_and_nowhere_else(kind):
    grammar = json_grammar({"type": "object"})
    for text in ('{"a": 1, "b": [1, 2]}', '{"a":1,"b":[1,2]}', "{}"):
        assert accepts(grammar, *kind, text)
    for text in (' {"a":1}', '{ "a":1}', '{"a" :1}', '{"a":1 }', '{"a":  1}', '{"a":1}\n', "[1]"):
        assert not accepts(grammar, *kind, text)


@pytest.mark.parametrize("regex", REGEXES)
def test_all_of_the_output_matches_the_regex(kind, regex):
    for seed in range(4):
        text = random_output(regex_grammar(regex), *kind, seed)
        assert re.fullmatch(regex, text), text


@pytest.mark.parametrize("choices", CHOICES)
def test_the_output_is_one_of_the_choices(kind, choices):
    grammar = choice_grammar(choices)
    assert all(accepts(grammar, *kind, choice) for choice in choices)
    assert {random_output(grammar, *kind, seed) for seed in range(6)} <= set(choices)


def test_thousands_of_choices(kind):
    choices = [f"word {number * 7919 % 10_007}" for number in range(5000)]
    assert random_output(choice_grammar(choices), *kind, 1) in choices


@pytest.mark.parametrize("gbnf", GBNF)
def test_gbnf(kind, gbnf):
    assert is_gbnf(gbnf)
    grammar = gbnf_to_lark(plain_gbnf(gbnf))
    allowed, refused = GBNF[gbnf]
    assert all(accepts(grammar, *kind, text) for text in allowed)
    assert not any(accepts(grammar, *kind, text) for text in refused)


def test_lark_is_not_taken_for_gbnf():
    for lark in (
        'start: "a"',
        "start: A\nA: /x::=/",
        'start: perm::0x0\nperm::_: "" %if is_ones([0:3])',
    ):
        assert not is_gbnf(lark)


@pytest.mark.parametrize(
    "grammar",
    [json_grammar({"enum": ["a b"]}), regex_grammar('"a b"'), choice_grammar(['"a b"'])],
)
def test_a_space_may_come_first(kind, grammar):
    assert accepts(after_space(grammar), *kind, '"a b"')
    assert accepts(after_space(grammar), *kind, ' "a b"')
    assert not accepts(after_space(grammar), *kind, '  "a b"')
    assert not accepts(grammar, *kind, ' "a b"')


def test_grammars_of_any_form_within_another(kind):
    call = several(
        'start: "<call>" (@one | @two) "</call>"',
        one=json_grammar({"const": {"a": 1}}),
        two=several('start: "(" @digits ")"', digits=regex_grammar("[0-9]+")),
    )
    validate_grammar(after_space(call))
    for text in ('<call>{"a":1}</call>', "<call>(42)</call>"):
        assert accepts(call, *kind, text)
        assert accepts(after_space(call), *kind, f" {text}")
    assert not accepts(call, *kind, "<call>()</call>")


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=8))
def test_any_text_as_a_regex_or_a_choice(text):
    clean = text.replace("\0", "")
    assert accepts(choice_grammar([clean]), *BYTES, clean)
    assert accepts(regex_grammar(re.escape(clean)), *BYTES, clean)


def test_options_of_a_schema_do_not_loosen_it():
    loose = {"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}
    with pytest.raises(GrammarError, match="uniqueItems"):
        json_grammar(loose)


def test_a_schema_that_is_nested_beyond_all_bounds():
    schema = {}
    for _ in range(20_000):
        schema = {"not": schema}
    with pytest.raises(GrammarError, match="nested too deeply"):
        json_grammar(schema)
