"""From an assistant's text, as it comes, to the parts of its message.

This is the one way for whole answers and streams: what the deltas make together is the answer, and
neither depends on how the text is cut into pieces.
"""

from collections.abc import Sequence

from server.assistant.answer import Answer, AnswerWriter, Delta
from server.assistant.form import AnswerForm
from server.assistant.thoughts import ThoughtReader
from server.assistant.tool_calls import CallReader
from server.tokenizer.base import Tokenizer
from server.tokenizer.detokenizer import Detokenizer


class AnswerReader:
    """Reads one answer. What begins like a call and is none is content; no other marker shows."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._writer = AnswerWriter(
            form.continued, form.calls is not None, form.parallel_calls, form.must_call
        )
        self._thoughts = ThoughtReader(form, self._writer)
        self._calls = CallReader(form, self._writer) if form.calls else None
        self.reasoning_tokens = 0
        """How many of the counted tokens are thoughts with their tags, or partly so."""
        self._counted: Detokenizer | None = None
        self._counted_characters = 0

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

    def count(self, token_ids: Sequence[int], tokenizer: Tokenizer) -> None:
        """Go on to count the tokens of thoughts, with the ids of all of the answer so far."""
        if self._counted is None:
            self._counted = Detokenizer(tokenizer)
        most = self._thoughts.characters
        while self._counted_characters < most and self.reasoning_tokens < len(token_ids):
            text = self._counted.push([token_ids[self.reasoning_tokens]])
            self._counted_characters += len(text)
            self.reasoning_tokens += 1

    def _say(self, text: str) -> None:
        if self._calls:
            self._calls.read(text)
        else:
            self._writer.say(text)
