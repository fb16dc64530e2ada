"""Calls that are broken, cut anywhere or without end: read alike however they come, and in time."""

import itertools
import json
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.assistant.reader import AnswerReader
from tests.assistant.test_call_forms import BLOCK, CALLS, FORMS, G1, HELD, TIME, WEATHER
from tests.assistant.test_reader import read

SIGNS = [
    *("```", "```json\n", "```python\n", "<tool_call>", "</tool_call>", "<tool_calls>", "{", "}"),
    *("</tool_calls>", "[", "]", ",", ";", "\n", "\n\n", " ", '"', "\\", "`", "*", "é", "text"),
    *('"name":', '"weather"', '"arguments":', '"function":', '"tool_calls":', "null", "<", "3"),
    *("[TOOL_CALLS]", "<|python_tag|>", "**Tool Call:**", WEATHER, TIME, BLOCK, '"x": 1', "{}"),
    *('"{\\"a\\": 1}"', "\\u00e9", "\\ud83d", "</think>", "User:"),
]  # fmt: skip


@pytest.mark.parametrize("form", [*FORMS, *HELD])
@settings(max_examples=150, deadline=None)
@given(
    signs=st.lists(st.sampled_from(SIGNS), max_size=14),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
@example(signs=["{", "}", " ", ",", " ", WEATHER], cuts=[3])
@example(signs=[WEATHER, " ", ",", "x"], cuts=[len(WEATHER) + 1])
def test_the_pieces_do_not_matter(form, signs, cuts):
    text = "".join(signs)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    whole = read(form, [text])
    assert read(form, pieces) == whole
    assert read(form, text) == whole


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [text for text, _ in CALLS])
def test_mutations(form, text):
    """Whatever is broken: no error, no piece matters, and nothing is said that was not written."""
    chance = random.Random(text)
    for _ in range(6):
        broken = list(text)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(broken) + 1)
            broken[place : place + chance.randint(0, 2)] = chance.choice(SIGNS)
        said = "".join(broken)
        whole = read(form, [said])
        assert read(form, said) == whole
        rest = iter(said)
        assert all(character in rest for character in whole[1])  # a part of it, in order


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=6),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_arguments_come_back(arguments, ascii_only):
    text = json.dumps(arguments, ensure_ascii=ascii_only)
    quoted = json.dumps(text, ensure_ascii=ascii_only)
    for written in (text, quoted):
        call = f'{{"name": "weather", "arguments": {written}}}'
        for said in (call, f"```json\n{call}\n```", f"<tool_call>{call}", f"[{call}]"):
            for form in FORMS:
                assert read(form, [said]) == ("", "", [("weather", text)])


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text('ab{}[]"\\`<\n', max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "arguments", "x", "function"]), inner)
        ),
        max_leaves=8,
    ),
    st.sampled_from([None, 2]),
)
def test_json_without_an_offered_name_is_content(value, indent):
    text = json.dumps(value, indent=indent)
    for form in FORMS:
        for said in (text, f"```json\n{text}\n```"):
            assert read(form, [said]) == ("", said, [])


ENDLESS = [
    "[", "{", "[\n", "{\n", '{"', '{"name":', '{"name":"weather"', '{"arguments":{', "```", "<",
    "<tool_call>", "<tool_calls>", "<tool_call>{", "`{", "[{", '[{"name":', "```json\n", "`", "*",
    '{"arguments":"', '{"function":', f"{WEATHER},", f"{WEATHER}\n", "```json\n[",
    '{"tool_calls":[', "**Tool Call:**", " ", "\n", "[ ", "```json ", '{"type":{', "```a",
    '"', "\\",
]  # fmt: skip


@pytest.mark.parametrize("again", ENDLESS)
def test_time_is_as_the_text_is_long(again):
    def seconds(count):
        text, form = again * (count // len(again)), G1
        began = time.process_time()
        for start in ("", "<tool_call>", '{"arguments":{"x":"'):
            AnswerReader(form).read(start + text, is_last=True)
            reader = AnswerReader(form)
            for place in range(0, len(text), 64):
                reader.read(text[place : place + 64])
            reader.read("", is_last=True)
        return time.process_time() - began

    assert seconds(48_000) < 20 * seconds(6_000) + 0.5
