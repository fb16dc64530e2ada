"""Grammars of forced calls: llguidance takes them, and they let through what is read as calls."""

import itertools
import json
from dataclasses import replace

import pytest
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from server.assistant.forced_calls import (
    MOST_CALLS,
    ToolChoice,
    ToolSchemaError,
    answer_grammar,
)
from server.assistant.form import AnswerForm, Opening
from server.assistant.reader import AnswerReader
from server.grammars.forms import after_space
from server.tokenizer.tool_messages import call_text

SCHEMA = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/X"}, "text": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
    "$defs": {"X": {"type": "integer"}},
}
UNTYPED = {"properties": {"x": {"type": "integer"}}, "required": ["x"]}
F = {"type": "function", "function": {"name": "f", "description": '"/</', "parameters": SCHEMA}}
G = {"type": "function", "function": {"name": "g-1", "parameters": {}}}
STRICT = {"type": "function", "function": {**F["function"], "strict": True}}

EMPTY_ARRAY = json.dumps({"grammars": [{"json_schema": {"type": "array", "maxItems": 0}}]})
REQUIRED, AUTO = ToolChoice("required"), ToolChoice()
HERMES = AnswerForm(calls="hermes")
G1 = AnswerForm(calls="g1", tool_names=("f", "g-1"), holds_calls=True)
OPENINGS = [
    AnswerForm(calls="hermes", reasons=True, opening=opening)
    for opening in (Opening(), Opening(thinks=True, owed=">"), Opening(owed=">"))
]


class Bytes:
    """The smallest tokenizer that llguidance takes."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes((byte,)) for byte in range(256)), b"<eos>")
    special_token_ids = (256,)

    def __call__(self, text):
        return list(text)


TOKENIZER = LLTokenizer(TokenizerWrapper(Bytes()), n_vocab=257)


def matches(grammar, text):
    """Whether a text is a whole answer."""
    matcher = LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


def calls_in(form, text):
    reader = AnswerReader(form)
    reader.read(text, is_last=True)
    return [(call.name, call.arguments) for call in reader.answer.calls]


@pytest.mark.parametrize("syntax", ["g1", "hermes", "mistral", "llama"])
@pytest.mark.parametrize("content", ["", 'start: "yes"', '{"grammars": [{"json_schema": {}}]}'])
def test_llguidance_takes_all_of_them(syntax, content):
    openings = (Opening(), Opening(thinks=True), Opening(owed=">"))
    choices = (AUTO, REQUIRED, ToolChoice("named", ("f",)), ToolChoice("auto", ("f", "g-1")))
    for opening, choice, reasons, parallel in itertools.product(
        openings, choices, (True, False), (True, False)
    ):
        form = AnswerForm(reasons, opening if reasons else Opening(), syntax, parallel)
        grammar = answer_grammar(form, [F, G], choice, content)
        if grammar or choice != AUTO:
            assert LLMatcher.validate_grammar(grammar) == ""


def test_a_call_that_must_be_made():
    grammar = answer_grammar(HERMES, [F, G], REQUIRED)
    call, other = call_text("f", '{"x": 1, "text": "a"}'), call_text("g-1", "{}")
    for text in (call, f" {call}", f"{call}\n{other}", f"{call}\n{other}\n{call}"):
        assert matches(grammar, text)
        assert len(calls_in(HERMES, text)) == text.count("<tool_call>")
    assert not matches(grammar, "")
    assert not matches(grammar, "Hello")
    assert not matches(grammar, call[:-1])
    assert not matches(grammar, call_text("h", "{}"))
    assert not matches(grammar, call_text("f", "{}"))
    assert not matches(grammar, call_text("f", '{"x": "1"}'))
    assert not matches(grammar, call_text("f", '{"x":    1}'))  # blanks without end
    assert not matches(grammar, "\n".join([other] * (MOST_CALLS + 1)))
    once = answer_grammar(AnswerForm(calls="hermes", parallel_calls=False), [F, G], REQUIRED)
    assert matches(once, call)
    assert not matches(once, f"{call}\n{other}")


def g1_call(name, arguments):
    return call_text(name, arguments, "g1")


def test_a_call_that_must_be_made_in_the_form_of_g1():
    grammar = answer_grammar(G1, [F, G], REQUIRED)
    call, other = g1_call("f", '{"x":1,"text":"```\\n"}'), g1_call("g-1", "{}")
    for text in (call, f" {call}", f"{call}\n{other}", f"{call}\n{other}\n{call}"):
        assert matches(grammar, text)
        assert len(calls_in(G1, text)) == text.count("```json")
    for text in ("", "Hi", "[]", call[:-1], f"{call}{other}", g1_call("h", "{}"), f"{call}\n"):
        assert not matches(grammar, text)
    for arguments in ("{}", '{"x":"1"}', '{"x":1,"y":2}'):
        assert not matches(grammar, g1_call("f", arguments))
    assert not matches(grammar, call.replace(":1", ": 1"))
    assert not matches(grammar, "\n".join([other] * (MOST_CALLS + 1)))
    assert matches(grammar, "\n".join([other] * MOST_CALLS))
    once = answer_grammar(replace(G1, parallel_calls=False), [F, G], REQUIRED)
    named = answer_grammar(G1, [F, G], ToolChoice("named", ("g-1",)))
    for held in (once, named):
        assert matches(held, other)
        assert not matches(held, f"{other}\n{other}")
    assert not matches(named, call)


@pytest.mark.parametrize(
    ("tools", "choice"), [([STRICT, G], AUTO), ([F, G], ToolChoice("auto", ("f", "g-1")))]
)
def test_other_blocks_stay_free_where_calls_are_held_to_their_schemas(tools, choice):
    grammar = answer_grammar(G1, tools, choice)
    good, bad = g1_call("f", '{"x":1}'), g1_call("f", '{"x":""}')
    free = ['```json\n{"name": "Bob", "arguments": 3}\n```', "```json\n[", '```json\n{"name": "f"}']
    free += [bad.replace("json", "python"), bad.removeprefix("```json\n")]
    for text in ("", "Hi {", good, f"So\n{good}\n{good} or", *free, f"{free[0]}\n{good} {free[1]}"):
        assert matches(grammar, text)
        assert calls_in(G1, text) == [("f", '{"x":1}')] * text.count('"x":1')
    spaced = '```json \n{ "name" :"f", "arguments": {"x":""}}\n```'
    for text in (bad, spaced, f"{good} {bad}", f"{free[0]} {bad}"):
        assert not matches(grammar, text)
    assert matches(grammar, g1_call("h", "{}"))  # read as content
    assert calls_in(G1, g1_call("h", "{}")) == []
    once = answer_grammar(replace(G1, parallel_calls=False), tools, choice)
    assert matches(once, f"{good} so")


def test_an_answer_in_a_wanted_form_or_a_call_of_g1():
    content = '{"grammars": [{"json_schema": {"type": "object"}}]}'
    grammar = answer_grammar(G1, [F], AUTO, content)
    same = '{"name": "f", "arguments": {}}'
    assert matches(grammar, same)
    assert calls_in(G1, same) == []
    assert matches(grammar, g1_call("f", '{"x":1}'))
    assert not matches(grammar, f"```json\n{same}\n```")


def test_a_named_function_is_called_once():
    grammar = answer_grammar(HERMES, [F, G], ToolChoice("named", ("g-1",)))
    assert matches(grammar, call_text("g-1", "{}"))
    assert not matches(grammar, call_text("f", '{"x": 1}'))
    assert not matches(grammar, f"{call_text('g-1', '{}')}\n{call_text('g-1', '{}')}")


@pytest.mark.parametrize(
    "parameters",
    [
        UNTYPED,
        {"$ref": "#/$defs/F", "$defs": {"F": UNTYPED}},
        {"anyOf": [UNTYPED, {"$ref": "#/$defs/F"}], "$defs": {"F": UNTYPED}},
    ],
)
def test_arguments_are_an_object_also_if_their_schema_does_not_say_so(parameters):
    function = {"name": "f", "parameters": parameters}
    grammar = answer_grammar(HERMES, [{"type": "function", "function": function}], REQUIRED)
    assert matches(grammar, call_text("f", '{"x": 1}'))
    for arguments in ('"a"', "1", "[]", "{}", "null"):
        assert not matches(grammar, call_text("f", arguments))


@pytest.mark.parametrize("form", OPENINGS)
def test_thoughts_come_before_a_call(form):
    grammar = answer_grammar(form, [G], REQUIRED)
    call = call_text("g-1", "{}")
    before = ">" if form.opening.owed else ""
    thought = "hm <tool_call> </thi</think>\n" if form.opening.thinks else ""
    assert matches(grammar, before + thought + call)
    assert calls_in(form, before + thought + call) == [("g-1", "{}")]
    assert not matches(grammar, before + thought + "Hi")
    if not form.opening.owed:
        assert matches(grammar, "<think>so</think>" + call)


def test_without_need_there_is_no_grammar():
    assert answer_grammar(HERMES, [F, G], AUTO) == ""
    assert answer_grammar(HERMES, [F], ToolChoice("none")) == ""
    assert answer_grammar(AnswerForm(), (), AUTO) == ""
    assert answer_grammar(AnswerForm(), (), AUTO, 'start: "yes"') == 'start: "yes"'


@pytest.mark.parametrize(
    ("tools", "choice"), [([STRICT, G], AUTO), ([F, G], ToolChoice("auto", ("f", "g-1")))]
)
def test_calls_of_strict_and_allowed_functions_are_held_to_their_schemas(tools, choice):
    grammar = answer_grammar(HERMES, tools, choice)
    good, bad = call_text("f", '{"x": 1}'), call_text("f", '{"x": ""}')
    for text in ("", "Hi {", good, f"So\n{good}\n{good} or", "a <tool_cal"):
        assert matches(grammar, text)
    assert not matches(grammar, bad)
    assert not matches(grammar, f"{good} {bad}")
    assert not matches(grammar, call_text("h", "{}"))
    llama = AnswerForm(calls="llama")
    bare = answer_grammar(llama, tools, choice)
    for text in ("", "Hi {", '{"name": "f", "parameters": {"x": 1}}'):
        assert matches(bare, text)
    assert not matches(bare, '{"name": "f", "parameters": {"x": ""}}')


def test_only_allowed_functions_may_be_called():
    grammar = answer_grammar(HERMES, [F, G], ToolChoice("required", ("g-1",)))
    assert matches(grammar, call_text("g-1", "{}"))
    assert not matches(grammar, call_text("f", '{"x": 1}'))


@pytest.mark.parametrize(
    "content", ['start: "[]"', EMPTY_ARRAY, after_space('start: "[]"'), after_space(EMPTY_ARRAY)]
)
def test_an_answer_is_of_the_wanted_form_or_a_call(content):
    grammar = answer_grammar(HERMES, [F], AUTO, content)
    assert matches(grammar, "[]")
    assert matches(grammar, call_text("f", '{"x": 1}'))
    assert not matches(grammar, "Hi")
    thinking = answer_grammar(OPENINGS[1], (), AUTO, content)
    assert matches(thinking, ">so</think>[]")
    assert not matches(thinking, "[]")


def test_a_schema_that_cannot_be_kept_is_refused_with_its_tool():
    bad = {"type": "object", "properties": {"a": {"type": "strnig"}}}
    broken = {"type": "function", "function": {"name": "f", "parameters": bad}}
    with pytest.raises(ToolSchemaError, match=r"properties\.a\.type: .*'strnig'") as refused:
        answer_grammar(HERMES, [F, G, broken], REQUIRED)
    assert refused.value.tool == 2
    assert answer_grammar(HERMES, [broken, G], ToolChoice("named", ("g-1",)))
