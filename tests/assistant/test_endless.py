"""Texts that a model may write without end take time as they are long, whatever is held back."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from server.api.choices import News, TokenCount
from server.api.chunks import ChatChunks, ChatStream
from server.api.logprobs import LogprobEntry
from server.api.messages.answer import MessageAnswer
from server.api.ollama.answer import OllamaLines
from server.api.responses.answer import Answer as ResponseAnswer
from server.assistant.form import AnswerForm, Opening
from server.assistant.reader import AnswerReader
from server.sampling.token_logprobs import TokenLogprobs
from server.tokenizer.bytes import ByteTokenizer

HERMES, LLAMA = AnswerForm(calls="hermes"), AnswerForm(calls="llama")
THINKS = AnswerForm(reasons=True, calls="hermes")
AMID = replace(THINKS, opening=Opening(thinks=True))
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "'
BLANKS, LETTERS = " \n" * 256, "ab" * 256

TEXTS = {
    "content": (HERMES, "a", LETTERS),
    "blanks before content": (HERMES, "", BLANKS),
    "blanks before a bare call": (LLAMA, "", BLANKS),
    "blanks in content": (HERMES, "a", BLANKS),
    "blanks before thoughts": (THINKS, "", BLANKS),
    "blanks in thoughts": (AMID, "a", BLANKS),
    "blanks after thoughts": (AMID, "a</think>", BLANKS),
    "thoughts": (AMID, "a", LETTERS),
    "begins of a marker": (AMID, "a", "<</" * 128),
    "arguments": (HERMES, CALL, LETTERS),
    "a key": (HERMES, '<tool_call>{"', LETTERS),
    "blanks after a marker": (HERMES, "<tool_call>", BLANKS),
    "blanks after a call": (HERMES, CALL + '"}}', BLANKS),
}
BODY: Any = SimpleNamespace(stop_sequences=[], stop=[], hides_thoughts=False)
ANSWERS: dict[str, Callable[[], Any]] = {
    "chat": lambda: ChatChunks({}, ChatStream(1)),
    "messages": lambda: MessageAnswer("m", BODY, lambda: TokenCount(1)),
    "ollama": lambda: OllamaLines("m", is_chat=True),
    "responses": lambda: ResponseAnswer({"output": [], "status": "in_progress"}, ByteTokenizer()),
}


def seconds(answer: Any, form: AnswerForm, first: str, again: str, count: int) -> float:
    """Of the processor, for so many pieces."""
    reader, offset = AnswerReader(form), 0
    gc.disable()  # what other tests have left may take it a second to go through
    began = time.process_time()
    for piece in [first, *[again] * count]:
        entry = LogprobEntry(97, TokenLogprobs(-1.0, [], []), offset)
        offset += len(piece)
        answer.news(News(0, piece, None, [entry], deltas=reader.read(piece)))
    spent = time.process_time() - began
    gc.enable()
    return spent


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("dialect", ANSWERS)
def test_eight_times_as_much_takes_about_eight_times_as_long(dialect: str, name: str) -> None:
    few, many = (seconds(ANSWERS[dialect](), *TEXTS[name], count) for count in (500, 4000))
    assert many < 20 * few + 0.5
