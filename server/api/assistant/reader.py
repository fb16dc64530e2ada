"""From an assistant's text, as it comes, to the parts of its message.

This is the one way for whole answers and streams: what the deltas make together is the answer, and
neither depends on how the text is cut into pieces.
"""

from collections.abc import Iterable

from server.api.assistant.answer import Answer, AnswerWriter, Delta
from server.api.assistant.form import AnswerForm
from server.api.assistant.thoughts import ThoughtReader
from server.api.assistant.tool_calls import CallReader
from server.tokenizer.base import Tokenizer
from server.tokenizer.detokenizer import Detokenizer


class AnswerReader:
    """Reads one answer. What begins like a call and is none is content; no other marker shows."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._writer = AnswerWriter(form.continued, form.calls is not None, form.parallel_calls)
        self._thoughts = ThoughtReader(form, self._writer)
        self._calls = CallReader(form.calls, self._writer) if form.calls else None

    @property
    def answer(self) -> Answer:
        """All of it so far."""
        return self._writer.answer

    @property
    def stops_for_calls(self) -> bool:
        """Whether an answer that stopped did so for its calls to be done."""
        return bool(self.answer.calls) and not self._form.ends_with_stop

    def read(self, text: str, is_last: bool = False) -> list[Delta]:
        """Give the next part of the text; returns what has become certain."""
        self._say(self._thoughts.read(text))
        if is_last:
            self._say(self._thoughts.end())
            if self._calls:
                self._calls.end()
            self._writer.end()
        return self._writer.take()

    def reasoning_tokens(self, token_ids: Iterable[int], tokenizer: Tokenizer) -> int:
        """How many tokens of the answer, all of whose ids are given, are thoughts with their tags.

        A token that is only partly of them counts.
        """
        detokenizer = Detokenizer(tokenizer)
        count = characters = 0
        for token_id in token_ids:
            if characters >= self._thoughts.characters:
                break
            characters += len(detokenizer.push([token_id]))
            count += 1
        return count

    def _say(self, text: str) -> None:
        if self._calls:
            self._calls.read(text)
        else:
            self._writer.say(text)
