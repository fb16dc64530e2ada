"""Tokens of an assistant's content, joined, are the content, however the text is cut."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.api.content_logprobs import ContentLogprobs
from server.api.logprobs import LogprobEntry, LogprobText
from server.assistant.form import AnswerForm, Opening
from server.assistant.reader import AnswerReader
from server.engine.stop_strings import StopStrings
from server.protocol.outputs import RequestOutput
from server.sampling.params import SamplingParams
from server.sampling.token_logprobs import TokenLogprobs
from server.tokenizer.detokenizer import Detokenizer
from tests.api.harness import CHAT, events
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "a b"}}\n</tool_call>'
WORDS = ("a", "b c", "é雪", "x", "think", "Hello, wörld", "{", "arguments", "STOP")
MARKS = ("</think>", "<think>", CALL, "<tool_call>")
PARTS = st.sampled_from((" ", "\n", "\u3000", *WORDS, *MARKS))


class Cut:
    """A tokenizer of the pieces that a text is cut into: id n is the n-th; 0 ends it."""

    eos_id = 0

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        # No token reaches from before a call to what comes after it.
        cuts = [*cuts, *range(20, len(data), 20), len(data)]
        ends = sorted({min(cut, len(data)) for cut in cuts})
        pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        self.texts = [b"", *(piece for piece in pieces if piece)]
        self.vocab_size = len(self.texts)

    def token_bytes(self, token: int) -> bytes:
        return self.texts[token]


def told(tokenizer: Any, form: AnswerForm, stops: tuple[str, ...]) -> tuple[str, bytes]:
    """The content, and the texts of its tokens, of an answer that comes token by token."""
    params = SamplingParams(max_tokens=1, seed=0)
    logprobs, reader = LogprobText(tokenizer, params), AnswerReader(form)
    content, detokenizer = ContentLogprobs(tokenizer, form), Detokenizer(tokenizer)
    matcher, found = StopStrings(stops), []
    for token in [*range(1, tokenizer.vocab_size), 0]:
        text = matcher.push(detokenizer.push([token])) if token else ""
        is_last = not token or bool(matcher.found)
        if not token:
            text = matcher.push(detokenizer.flush()) + matcher.flush()
        each = [TokenLogprobs(-1.0, [], [])]
        output = RequestOutput("r", text, [token], "stop" if is_last else None, logprobs=each)
        entries = logprobs.push(output)
        found += content.read(text, entries, reader.read(text, is_last), is_last)
        if is_last:
            break
    return reader.answer.content, b"".join(map(shown(tokenizer), found))


def shown(tokenizer: Any) -> Any:
    def text(entry: LogprobEntry) -> bytes:
        data: bytes = tokenizer.token_bytes(entry.token_id)
        return data if entry.shown is None else entry.shown

    return text


@given(
    parts=st.lists(PARTS, max_size=12),
    cuts=st.lists(st.integers(1, 90), max_size=30),
    reasons=st.booleans(),
    thinks=st.booleans(),
    calls=st.sampled_from([None, "hermes"]),
    stops=st.sampled_from([(), ("STOP",), ("\n\nuser:", "x")]),
)
@settings(max_examples=500, deadline=None)
@example([" ", "Hello, wörld"], [3], False, False, None, ())
@example(["<think>", "think", "</think>", "think"], [9, 30], True, False, None, ())
@example(["</think>", "a"], [4], True, True, None, ())
@example(["a", "\n", CALL], [1], False, False, "hermes", ())
def test_they_join_to_the_content(
    parts: list[str],
    cuts: list[int],
    reasons: bool,
    thinks: bool,
    calls: Any,
    stops: tuple[str, ...],
) -> None:
    text = "".join(parts)
    opening = Opening(thinks=thinks) if reasons else Opening()
    form = AnswerForm(reasons=reasons, opening=opening, calls=calls)
    content, joined = told(Cut(text.encode(), cuts), form, stops)
    assert joined.decode() == content


@pytest.mark.parametrize("text", [" hé", "  \n a b ", "x", " <think>so</think> yes", f"a\n{CALL}"])
@pytest.mark.parametrize("stop", [[], ["b"]])
async def test_whole_answers_and_streams_tell_of_the_same_tokens(
    text: str, stop: list[str]
) -> None:
    api = scoring(lambda _: FakeTokenizer().encode(text))
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True}
    body |= {"seed": 1, "tools": [{"type": "function", "function": {"name": "f"}}], "stop": stop}
    (choice,) = (await api.post(CHAT, **body)).json()["choices"]
    whole = choice["logprobs"]["content"]
    joined = b"".join(bytes(each["bytes"]) for each in whole)
    assert joined.decode() == (choice["message"]["content"] or "")
    pieces = []
    for data in events((await api.post(CHAT, stream=True, **body)).text)[:-1]:
        (piece,) = json.loads(data)["choices"]
        pieces += (piece["logprobs"] or {"content": []})["content"]
    assert pieces == whole
