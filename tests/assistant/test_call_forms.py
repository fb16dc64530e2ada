"""Calls in all the forms that models write, and what is like one and none."""

from dataclasses import replace

import pytest

from server.assistant.form import AnswerForm
from server.assistant.reader import AnswerReader
from tests.assistant.test_reader import parts, read

NAMES = ("weather", "time", "files.read", "mail.read", "mail.send", "mcp__git__log")
G1 = AnswerForm(calls="g1", tool_names=NAMES)
FORMS = [replace(G1, calls=calls) for calls in ("g1", "hermes", "mistral", "llama")]
HELD = [replace(form, holds_calls=True) for form in FORMS]
ROME, WEATHER = '{"city":"Rome"}', '{"name":"weather","arguments":{"city":"Rome"}}'
NOON, TIME = '{"zone": "a } ] ``` </tool_call> \\" b"}', '{"arguments": {}, "name": "time"}'
TIME = TIME.replace("{}", NOON)
BLOCK = f"```json\n{WEATHER}\n```"
ONE, TWO = [("weather", ROME)], [("weather", ROME), ("time", NOON)]

CALLS = [
    (BLOCK, ONE),
    (f" {BLOCK}", ONE),
    (f"{BLOCK}\n```json\n{TIME}\n```", TWO),
    (f"```json\n{WEATHER}", ONE),
    (f"```\n{WEATHER}\n```", ONE),
    (f"```JSON {WEATHER}```", ONE),
    (f"```json\n[{WEATHER}, {TIME}]\n```", TWO),
    (f"```json\n{WEATHER}\n{TIME}\n```", TWO),
    (f"```tool_call\n{WEATHER}\n```", ONE),
    (f"**Tool Call:**\n{BLOCK}", ONE),
    (f"<tool_call>\n{WEATHER}\n</tool_call>\n<tool_call>{TIME}</tool_call>", TWO),
    (f"<tool_call>{WEATHER}", ONE),
    (f"<tool_call>{WEATHER}\n<tool_call>{TIME}", TWO),
    (f"<tool_call>{WEATHER}{TIME}</tool_call>", TWO),
    (f"<tool_call>[{WEATHER},{TIME}]</tool_call>", TWO),
    (f"<tool_call>\n{BLOCK}\n</tool_call>", ONE),
    (f"```xml\n<tool_call>{WEATHER}</tool_call>", ONE),
    (f"```json\n<tool_call>{WEATHER}</tool_call>\n```", ONE),
    (f"<tool_calls>[{WEATHER}, {TIME}]</tool_calls>", TWO),
    (f"<tool_calls>[{WEATHER}, {TIME}]", TWO),
    (f"<tool_calls>\n<tool_call>{WEATHER}</tool_call>\n<tool_call>{TIME}</tool_call>\n"
     "</tool_calls>", TWO),
    (WEATHER, ONE),
    (f"{WEATHER}\n{TIME}", TWO),
    (f"{WEATHER}; {TIME}", TWO),
    (f"[{WEATHER}, {TIME}]", TWO),
    (f'{{"tool_calls": [{WEATHER}, {TIME}]}}', TWO),
    (f'{{"tool_call": {WEATHER}}}', ONE),
    (f'{{"function_call": {WEATHER}}}', ONE),
    (f'{{"type": "function", "function": {WEATHER}}}', ONE),
    (f'[{{"id": "call_1", "type": "function", "function": {WEATHER}}}]', ONE),
    (f'{{"function": "weather", "arguments": {ROME}}}', ONE),
    (f'{{"name": "weather", "parameters": {ROME}}}', ONE),
    (f'{{"name": "weather", "params": {ROME}}}', ONE),
    ('{"name": "weather", "arguments": "{\\"city\\":\\"Rome\\"}"}', ONE),
    ('{"name": "weather", "arguments": " {\\"\\u0063ity\\":\\"Rome\\"}"}', ONE),
    ('{"name": "weather", "arguments": ""}', [("weather", "{}")]),
    ('{"name": "weather", "arguments": null}', [("weather", "{}")]),
    ('{"name": "weather", "arguments": "{\\"a\\":\\"\\ud83d\\ude00\\u00e9\\n\\"}"}',
     [("weather", '{"a":"\U0001f600é\n"}')]),
    ('{\n  "name": "weather",\n  "arguments": {\n    "city": "Rome"\n  }\n}',
     [("weather", '{\n    "city": "Rome"\n  }')]),
    (WEATHER.replace("weather", "functions.weather"), ONE),
    (WEATHER.replace("weather", "weather:weather"), ONE),
    (WEATHER.replace("weather", "send"), [("mail.send", ROME)]),
    (WEATHER.replace("weather", "mail/send"), [("mail.send", ROME)]),
    (WEATHER.replace("weather", "read"), [("read", ROME)]),  # it may be one of two
    (WEATHER.replace("weather", "mcp__git__log"), [("mcp__git__log", ROME)]),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("text", "calls"), CALLS)
def test_forms_of_calls(form, text, calls):
    content = "```xml" if text.startswith("```xml") else ""
    assert read(form, [text]) == ("", content, calls)
    if content:
        return
    # Around it there is something else.
    for before, after in (("Let me see. ", "\n\nDone."), ("I\n", " so"), ("a 1] } b\n", "\n{x}")):
        if not text.lstrip().startswith("```") or text.rstrip().endswith("```"):
            got = read(form, [f"{before}{text}{after}"])
            assert got == ("", before.rstrip() + after, calls)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [text for text, _ in CALLS])
def test_any_two_pieces(form, text):
    said = f"a: {text}\nb"
    whole = read(form, [said])
    for cut in range(len(said) + 1):
        assert read(form, [said[:cut], said[cut:]]) == whole
    assert read(form, said) == whole


PLAIN = [
    '{"city": "Rome"}',
    '{"name": "Bob", "arguments": {"a": 1}}',
    '{"name": "Bob", "age": 3}',
    '{"name": "weather"}',
    '{"name": "weather", "age": 3, "arguments": {}}',
    '{"name": "weather", "description": "d", "parameters": {"type": "object"}}',
    '{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {}}}',
    '{"name": "weather", "arguments": 3}',
    '{"name": "weather", "arguments": "Rome"}',
    '{"steps": [{"name": "weather", "arguments": {}}]}',
    '{\n  "steps": [\n    {"name": "weather", "arguments": {}},\n    {"name": "time"}\n  ]\n}',
    '{"text": "{\\"name\\": \\"weather\\", \\"arguments\\": {}}"}',
    '[1, {"name": "weather", "arguments": {}}]',
    '{"tool_calls": []}',
    "[]", "[1, 2]", "{}", "{", "[", "`", "``", "```", "[link](http://x) and {braces}",
    'It is `{"name": "weather", "arguments": {}}`.',
    '```json\n{"name": "Bob", "arguments": {}}\n```',
    '```json\n{"a": [{"name": "weather", "arguments": {}}]}\n```\nThat is all.',
    'So:\n```python\nf({"name": "weather", "arguments": {}})\n{"name": "time", "arguments": {}}\n',
    '```js\nconst x = {"name": "weather", "arguments": {}};\n```\n```\nplain\n```',
    '```python\n{"name": "weather", "arguments": {}}',
    "```xml\n<tool_call>{\"name\": \"example\", \"arguments\": {}}</tool_call>\n```",
    "weather(city=\"Rome\")",
    "if (a < b) { c[0] = `d`; }",
    '{"arguments": {"name": "weather", "arguments": {}}, "x": 1}',
    '{"name": "wea\nther", "arguments": {}}',
    "**Tool Call:** none",
]  # fmt: skip


@pytest.mark.parametrize("form", [*FORMS, *HELD])
@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_call_is_content(form, text):
    is_block_left_open = text.count("```") == 1
    for said in (text, f"Look: {text}", f"{text}\n\n{'' if is_block_left_open else text} end"):
        if form.holds_calls and said[0] in "[{" and form.calls in ("mistral", "llama"):
            continue  # what such an answer begins with is a call
        if form.holds_calls and "<tool_call>" in text:
            continue  # a grammar has seen to it that it is one
        whole = read(form, [said])
        assert whole == ("", said, [])
        assert read(form, said) == whole


@pytest.mark.parametrize("text", ['{"name": "Bob", "arguments": {}}', "[1]", '{"a": 1}'])
def test_also_with_a_name_that_was_not_offered(text):
    for form in HELD:
        assert read(form, [text]) == ("", text, [])


def test_a_marker_says_that_it_is_a_call_whatever_its_name():
    text = '<tool_call>{"name": "unknown", "x": 1, "arguments": {}}</tool_call>'
    for form in FORMS:
        assert read(form, [text]) == ("", "", [("unknown", "{}")])
    named = '[TOOL_CALLS][{"name": "unknown", "arguments": {}}]'
    assert read(FORMS[2], [named]) == ("", "", [("unknown", "{}")])
    assert read(FORMS[0], [named]) == ("", named, [])


OWN = [BLOCK, f"<tool_call>{WEATHER}</tool_call>", f"[TOOL_CALLS][{WEATHER}]", WEATHER]


@pytest.mark.parametrize(("form", "own"), list(zip(HELD, OWN, strict=True)))
def test_with_a_grammar_only_its_form_is_a_call(form, own):
    assert read(form, [f"{own}\nso"])[2] == ONE
    others = [each for each in OWN if each is not own]
    others += [f"<tool_calls>[{WEATHER}]</tool_calls>", f"```\n{WEATHER}\n```"]
    for text in others:
        assert read(form, [f"Well, {text}"]) == ("", f"Well, {text}", [])


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{TIME}\n```",
        f"```json\n[{WEATHER}]\n```",
        f"```JSON\n{WEATHER}\n```",
        '```json\n{"name": "w\\u0065ather", "arguments": {}}\n```',
        '```json\n{"name": "weather", "parameters": {}}\n```',
        '```json\n{"name": "weather", "id": "1", "arguments": {}}\n```',
        '```json\n{"name": "weather", "arguments": "{}"}\n```',
        f'```json\n{{"function": {WEATHER}}}\n```',
        f'```json\n{{"tool_calls": [{WEATHER}]}}\n```',
    ],
)
def test_nor_what_the_grammar_would_not_have_held(text):
    assert read(HELD[0], [text]) == ("", text, [])


def test_calls_and_text_take_turns():
    text = f"One. {BLOCK} Two. {WEATHER} three <tool_call>{TIME} four"
    got = read(G1, [text])
    assert got == ("", "One. Two. three four", [*ONE, *ONE, ("time", NOON)])
    once = read(replace(G1, parallel_calls=False), [text])
    assert once == ("", got[1], ONE)


def test_text_within_the_block_of_a_call():
    assert read(G1, [f"```json\n{WEATHER}\nas you see\n```\nSo."]) == (
        "", "as you see\n\nSo.", ONE
    )  # fmt: skip
    assert read(G1, [f"```json\n[{WEATHER}, 1]\n```\n{TIME}"]) == ("", ", 1]", TWO)


def test_a_call_is_told_as_it_comes():
    reader = AnswerReader(G1)
    assert reader.read('```json\n{"name":"weather","arguments":') == []
    assert [delta.call.name for delta in reader.read("{")] == ["weather", ""]
    assert [delta.call.arguments for delta in reader.read('"city":"R')] == ['"city":"R']
    assert [delta.call.arguments for delta in reader.read('ome"}}\n``')] == ['ome"}']
    assert reader.read("`") == []
    quoted = AnswerReader(G1)
    quoted.read('{"name":"weather","arguments":"{\\"ci')
    assert quoted.answer.calls[0].arguments == '{"ci'
    assert [delta.call.arguments for delta in quoted.read('ty\\"')] == ['ty"']


def test_content_is_not_held_back_longer_than_it_might_be_a_call():
    for text in (
        '{"answer"',
        '{"name":"Bob"',
        "[1",
        "```python",
        "{x",
        '{"name":1',
        '{"name":"weather","x"',
    ):
        reader = AnswerReader(G1)
        assert "".join(delta.content for delta in reader.read(f"{text}: 1")).startswith(text)


def test_the_answer_is_what_the_deltas_make():
    reader = AnswerReader(G1)
    deltas = [delta for character in f"a {BLOCK} b" for delta in reader.read(character)]
    deltas += reader.read("", is_last=True)
    said = "".join(delta.content for delta in deltas)
    made = "".join(delta.call.arguments for delta in deltas if delta.call)
    assert ("", said, [("weather", made)]) == parts(reader.answer)
