"""Which log-probabilities belong to which part of an answer."""

from collections import deque

from server.api.choices import News
from server.api.logprobs import chat_tokens
from server.assistant.answer import Delta
from server.tokenizer.base import Tokenizer


class TextLogprobs:
    """Finds the text of each delta in what the model wrote, and so the tokens that it is made of.

    What a model wrote beside its messages (thoughts, calls, markers) is passed over. A token that
    is part of two deltas belongs to the first.
    """

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        """Without a tokenizer none are wanted."""
        self._tokenizer = tokenizer
        self._written = ""  # that no delta has had yet, but for what came since the last one
        self._news: list[str] = []
        self._begin = 0  # of it, in characters of all that was written
        self._entries: deque[tuple[int, bytes]] = deque()
        """Where a token begins, and the item of chat's list for it, if it has one."""

    def push(self, news: News) -> None:
        """Take in what was written."""
        if self._tokenizer is not None:
            self._news.append(news.text)
            for entry in news.logprobs:
                item = b"".join(chat_tokens((entry,), self._tokenizer))
                self._entries.append((entry.offset, item))

    def take(self, delta: Delta) -> list[bytes]:
        """Those of a delta of a message, as items of chat's lists; of any other none."""
        text = delta.content or delta.reasoning
        if self._tokenizer is None or not text:
            return []
        self._written = "".join((self._written, *self._news))
        self._news.clear()
        place = self._written.find(text)
        if place < 0:
            return []
        self._skip(place)
        end = self._begin + len(text)
        items = []
        while self._entries and self._entries[0][0] < end:
            items.append(self._entries.popleft()[1])
        self._advance(len(text))
        return [item for item in items if item and delta.content]

    def _skip(self, count: int) -> None:
        """Drop what ends before the next text: a token may begin with the blank before it."""
        self._advance(count)
        entries = self._entries
        while len(entries) > 1 and max(entries[0][0] + 1, entries[1][0]) <= self._begin:
            entries.popleft()

    def _advance(self, count: int) -> None:
        self._written = self._written[count:]
        self._begin += count
