"""An assistant's text taken apart: thoughts, content and calls, however it is cut into pieces."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.assistant.answer import Answer
from server.assistant.form import AnswerForm, Opening, opening_of, opening_within
from server.assistant.reader import AnswerReader
from server.tokenizer.bytes import ByteTokenizer

PLAIN = AnswerForm()
HERMES = AnswerForm(calls="hermes")
MISTRAL = AnswerForm(calls="mistral")
LLAMA = AnswerForm(calls="llama")
THINKS = AnswerForm(reasons=True, calls="hermes")
G1 = replace(THINKS, opening=Opening(thinks=True, owed=">"))
FORMS = [
    PLAIN, HERMES, MISTRAL, LLAMA, THINKS, G1, replace(HERMES, parallel_calls=False),
    replace(THINKS, opening=Opening(owed=">")), replace(HERMES, continued=True),
]  # fmt: skip

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
OTHER = '<tool_call>{"arguments": {"y": "</tool_call>"}, "name": "g"}</tool_call>'


def read(form, pieces):
    """What the deltas make, which is checked to be the answer, ids apart."""
    reader, whole = AnswerReader(form), Answer()
    deltas = [delta for piece in pieces for delta in reader.read(piece)]
    deltas += reader.read("", is_last=True)
    for delta in deltas:
        whole.add(delta)
    first = [delta.call for delta in deltas if delta.call and delta.call.name]
    assert [call.index for call in first] == list(range(len(first)))
    assert [call.id for call in first] == [call.id for call in reader.answer.calls]
    assert len({call.id for call in first}) == len(first)
    result = parts(reader.answer)
    assert result == parts(whole)
    return result


def parts(answer):
    calls = [(call.name, call.arguments) for call in answer.calls]
    return answer.reasoning, answer.content, calls


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (PLAIN, f" <think>a</think>{CALL} ", ("", f"<think>a</think>{CALL} ", [])),
        (HERMES, " Hi\n you \n", ("", "Hi\n you \n", [])),
        (HERMES, f" {CALL}\n", ("", "", [("f", '{"x": 1}')])),
        (HERMES, f"Wait.\n{CALL}\n{OTHER}",
         ("", "Wait.", [("f", '{"x": 1}'), ("g", '{"y": "</tool_call>"}')])),
        (HERMES, f"a {CALL}\n b ", ("", "a\n b", [("f", '{"x": 1}')])),
        (replace(HERMES, parallel_calls=False), f"{CALL}\n{OTHER}", ("", "", [("f", '{"x": 1}')])),
        (replace(HERMES, continued=True), " more", ("", " more", [])),
        (THINKS, f"\n<think>\n one\ntwo \n</think>\n\nHi <think>{CALL}",
         ("one\ntwo", "Hi <think>", [("f", '{"x": 1}')])),
        (THINKS, "<think>never ends </thin", ("never ends </thin", "", [])),
        (THINKS, "<thinker> no", ("", "<thinker> no", [])),
        (THINKS, "<think></think>", ("", "", [])),
        (G1, ">\nwell </think\n</think>\nHi", ("well </think", "Hi", [])),
        (G1, "well</think>Hi", ("well", "Hi", [])),
        (replace(THINKS, opening=Opening(owed=">")), ">\nHi <think>", ("", "Hi <think>", [])),
        (MISTRAL, '[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g"}]',
         ("", "", [("f", "{}"), ("g", "{}")])),
        (MISTRAL, 'ok [TOOL_CALLS][{"name": "f", "arguments": {"a": []}}] then',
         ("", "ok then", [("f", '{"a": []}')])),
        (MISTRAL, '[{"name": "f", "arguments": {}}]', ("", "", [("f", "{}")])),
        (MISTRAL, "[1, 2] [3]", ("", "[1, 2] [3]", [])),
        (MISTRAL, "[", ("", "[", [])),
        (LLAMA, '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
         ("", "", [("f", '{"a": 1}'), ("g", "{}")])),
        (LLAMA, '<|python_tag|>{"name": "f", "parameters": {}}', ("", "", [("f", "{}")])),
        (LLAMA, '{"answer": 1}', ("", '{"answer": 1}', [])),
    ],
)  # fmt: skip
def test_the_parts_of_a_text(form, text, expected):
    assert read(form, [text]) == expected
    assert read(form, list(text)) == expected


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        # Whatever the order and whatever else there is.
        ('{"id": 7, "x": [{}], "arguments": {"a": "}"}, "z": null, "name": "f"}', '{"a": "}"}'),
        ('{"name":"f","arguments":null}', "{}"),
        ('{"name":"f"}', "{}"),
        ('{"name":"f","arguments":"{\\"a\\": 1}"}', '{"a": 1}'),
        ('{"name":"f","arguments":{"a":"\\n\\nUser: \\u00e9"}}', '{"a":"\\n\\nUser: \\u00e9"}'),
        # Cut off or broken once it is known to be a call: what there is.
        ('{"name":"f","arguments":{"a": [1, "</tool', '{"a": [1, "</tool'),
        ('{"name":"f","arguments":{"a": 1', '{"a": 1'),
        ('{"name":"f","arguments":{"a": 1}', '{"a": 1}'),
    ],
)
def test_forms_of_a_call(text, calls):
    assert read(HERMES, [f"<tool_call>{text}"]) == ("", "", [("f", calls)])
    assert read(HERMES, f"<tool_call>{text}") == ("", "", [("f", calls)])


@pytest.mark.parametrize(
    "broken",
    [
        "", "x", "[]", "{", "{}", '{"name"}', '{"name": 1}', '{"name": ""}', '{"name": "f"',
        '{"name": "f", "arguments": [1]}', '{"name": "f", "arguments": "x"}', "{'name': 'f'}",
        '{"name": "f", "arguments": nul}', '{"name": "\\ud800", "arguments": {}}', '{"name": "f",}',
        '{"arguments": {"a": 1}, "x": <}', '{"arguments": {"a": 1}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["", "</tool_call>", "</tool_call> and\n"])
def test_what_is_no_call_is_content_and_the_next_one_is_still_read(broken, end):
    text = f"<tool_call>{broken}{end}"
    assert read(HERMES, text) == ("", text, [])
    if end:
        said, calls = text.rstrip(), [("f", '{"x": 1}')]
        assert read(HERMES, text + CALL) == ("", said, calls)


def test_a_broken_call_ends_where_its_json_cannot_go_on():
    text = '<tool_call>{"name": "f", "arguments": {"x": </tool_call> so'
    assert read(HERMES, text) == ("", "so", [("f", '{"x": ')])


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                *("<tool_call>", "</tool_call>", "<think>", "</think>", "</thi", "<tool", ">", " "),
                *("[TOOL_CALLS]", "<|python_tag|>", "[", "]", "{", "}", ",", ";", "\n", '"', "é"),
                *('"name": ', '"arguments": ', '"f"', '"parameters":', "{}", '{"x": 1}', "\\"),
                *(CALL, OTHER, '{"name": "f", "parameters": {}}', "text", "</tool_call"),
            ]
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
@example(parts=[CALL], cuts=[4, 20, 30])
def test_the_pieces_do_not_matter(form, parts, cuts):
    text = "".join(parts)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    whole = read(form, [text])
    assert read(form, pieces) == whole
    assert read(form, text) == whole


@settings(deadline=None)
@given(st.text("ab<>/think \n", max_size=40))
def test_without_calls_and_thoughts_nothing_is_lost(text):
    assert read(PLAIN, text) == ("", text.lstrip(), [])
    assert read(replace(HERMES, continued=True), text) == ("", text, [])


def test_only_what_might_be_a_marker_is_held_back():
    reader = AnswerReader(THINKS)
    assert reader.read("<th") == []
    assert [delta.content for delta in reader.read("e cat <tool_")] == ["<the cat"]
    assert [delta.content for delta in reader.read("x")] == [" <tool_x"]


def test_a_call_is_told_when_its_arguments_begin():
    reader = AnswerReader(HERMES)
    assert reader.read('<tool_call>{"name": "f", "arguments": ') == []
    first, second = reader.read('{"x"')
    assert (first.call.name, first.call.arguments) == ("f", "")
    assert (second.call.id, second.call.name, second.call.arguments) == ("", "", '{"x"')
    assert [delta.call.arguments for delta in reader.read(": 1}}</")] == [": 1}"]
    assert reader.read("tool_call>") == []


def test_what_the_prompt_has_begun():
    assert opening_of("User: a\n\nAssistant: <think") == Opening(thinks=True, owed=">")
    assert opening_of("<|assistant|><think>\n") == Opening(thinks=True)
    assert opening_of("Assistant: <think>\n</think") == Opening(owed=">")
    assert opening_of("<think>\n\n</think>\n\n") == Opening(ended=True)
    assert opening_of("User: what is <think>?\n\nAssistant:") == Opening()
    assert opening_within("<think>so") == Opening(thinks=True)
    assert opening_within("<think>so</think>well") == opening_within("well") == Opening()


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (THINKS, "<think>é</think> Hi", len("<think>é</think>".encode())),
        (G1, ">no end", len(">no end")),
        (G1, "é</think>é", len("é</think>".encode())),
        (THINKS, "Hi", 0),
        (replace(THINKS, opening=Opening(owed=">")), ">Hi", 0),
    ],
)
def test_tokens_of_thoughts_are_counted_by_their_ids(form, text, expected):
    tokenizer = ByteTokenizer()
    for end in ([], [0]):
        reader, ids = AnswerReader(form), []
        for piece in text:
            ids += tokenizer.encode(piece)
            reader.read(piece)
            reader.count(ids, tokenizer)
        reader.read("", is_last=True)
        reader.count([*ids, *end], tokenizer)
        assert reader.reasoning_tokens == expected
        # Not counted before the end, or with the ids ahead of the text: it comes to the same.
        late, early = AnswerReader(form), AnswerReader(form)
        early.count(ids, tokenizer)
        late.read(text)
        early.read(text)
        early.count([*ids, *end], tokenizer)
        for each in (late, early):
            each.read("", is_last=True)
            each.count([*ids, *end], tokenizer)
            assert each.reasoning_tokens == expected
