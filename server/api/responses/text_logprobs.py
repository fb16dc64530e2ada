"""Which log-probabilities belong to which part of an answer."""

from collections import deque

from server.api.assistant.answer import Delta
from server.api.choices import News
from server.api.chunks import Chunk
from server.api.logprobs import LogprobEntry, chat_logprobs
from server.tokenizer.base import Tokenizer


class TextLogprobs:
    """Finds the text of each delta in what the model wrote, and so the tokens that it is made of.

    What a model wrote beside its messages (thoughts, calls, markers) is passed over. A token that
    is part of two deltas belongs to the first.
    """

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        """Without a tokenizer none are wanted."""
        self._tokenizer = tokenizer
        self._written = ""  # that no delta has had yet
        self._begin = 0  # of it, in characters of all that was written
        self._entries: deque[LogprobEntry] = deque()

    def push(self, news: News) -> None:
        """Take in what was written."""
        if self._tokenizer is not None:
            self._written += news.text
            self._entries += news.logprobs

    def take(self, delta: Delta) -> list[Chunk]:
        """Those of a delta of a message, in chat's form; of any other none."""
        text = delta.content or delta.reasoning
        if self._tokenizer is None or not text:
            return []
        place = self._written.find(text)
        if place < 0:
            return []
        self._skip(place)
        end = self._begin + len(text)
        entries = []
        while self._entries and self._entries[0].offset < end:
            entries.append(self._entries.popleft())
        self._advance(len(text))
        found = chat_logprobs(entries if delta.content else [], self._tokenizer)
        return found["content"] if found else []

    def _skip(self, count: int) -> None:
        self._advance(count)
        while self._entries and self._entries[0].offset < self._begin:
            self._entries.popleft()

    def _advance(self, count: int) -> None:
        self._written = self._written[count:]
        self._begin += count
