"""Which tokens an assistant's content is made of: their texts, joined, are the content.

What the model wrote beside it (reasoning, calls, markers, whitespace that is not shown) is passed
over, and a token that is partly of the content is cut to that part.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from server.api.logprobs import LogprobEntry, chat_token
from server.assistant.answer import Delta
from server.assistant.form import AnswerForm
from server.assistant.thoughts import BEGIN, END
from server.tokenizer.base import Tokenizer


class ContentLogprobs:
    """Finds the text of each delta in what the model wrote, and the tokens of content in it.

    A token that ends after a delta comes with the next one, or cut to the content at its end.
    """

    def __init__(self, tokenizer: Tokenizer, form: AnswerForm) -> None:
        self._tokenizer = tokenizer
        self._may_think = form.reasons
        self._thinks = form.opening.thinks
        self._written = ""  # that is after the last delta
        self._begin = 0  # of it, in characters of all that was written
        self._first = self._last = 0
        """Where the content that is being told of begins, and where it ends so far."""
        self._entries: deque[_Placed] = deque()

    def read(
        self, text: str, entries: Sequence[LogprobEntry], deltas: Sequence[Delta], is_last: bool
    ) -> list[LogprobEntry]:
        """Take in what was written and what was made of it; returns the tokens of content."""
        self._entries += [self._placed(entry) for entry in entries]
        found: list[LogprobEntry] = []
        self._written += text
        for delta in deltas:
            if delta.content:
                found += self._pass_content(delta.content)
            elif delta.reasoning:
                self._thinks = True
                self._pass(self._written.find(delta.reasoning), delta.reasoning)
                self._drop()
            elif delta.call is not None and delta.call.arguments:
                self._pass(self._written.find(delta.call.arguments), delta.call.arguments)
                self._drop()
        if is_last:
            return [*found, *self._rest()]
        self._encode(len(entries))
        return found

    def _pass_content(self, said: str) -> list[LogprobEntry]:
        place = self._written.find(said, self._after_reasoning())
        if place < 0:
            return []
        found = []
        if self._begin + place != self._last or self._first == self._last:
            found = self._rest()
            self._first = self._begin + place
        self._last = self._begin + place + len(said)
        self._pass(place, said)
        while self._entries and self._entries[0].end <= self._last:
            found += self._shown(self._entries.popleft())
        return found

    def _pass(self, place: int, said: str) -> None:
        """Go on to the end of what was found."""
        if place >= 0:
            self._begin += place + len(said)
            self._written = self._written[place + len(said) :]

    def _drop(self) -> None:
        """Let go of tokens that are not of the content and end before what comes next."""
        entries = self._entries
        while entries and self._last <= entries[0].entry.offset and entries[0].end <= self._begin:
            entries.popleft()

    def _encode(self, count: int) -> None:
        """Make JSON of those of the last tokens that are held: later it is for many at once."""
        for at in range(-min(count, len(self._entries)), 0):
            entry, end = self._entries[at]
            if entry.logprobs is not None and not entry.is_stop:
                item = chat_token(entry, entry.logprobs, self._tokenizer)
                self._entries[at] = _Placed(entry._replace(item=item), end)

    def _after_reasoning(self) -> int:
        """Where the first content begins at the earliest."""
        may_think, self._may_think = self._may_think, False
        if may_think and (self._thinks or self._written.lstrip().startswith(BEGIN)):
            found = self._written.find(END)
            return found + len(END) if found >= 0 else 0
        return 0

    def _rest(self) -> list[LogprobEntry]:
        """Tokens that begin before the end of the content and end after it."""
        found = []
        while self._entries and self._entries[0].entry.offset < self._last:
            found += self._shown(self._entries.popleft())
        return found

    def _placed(self, entry: LogprobEntry) -> "_Placed":
        sizes = _sizes(self._tokenizer.token_bytes(entry.token_id))
        return _Placed(entry, entry.offset + max(1, len(sizes)))

    def _shown(self, placed: "_Placed") -> list[LogprobEntry]:
        """The entry, cut to what the content has of it; nothing if that is nothing."""
        entry = placed.entry
        if self._first <= entry.offset and placed.end <= self._last and not entry.is_stop:
            return [entry]
        data = self._tokenizer.token_bytes(entry.token_id)
        sizes = _sizes(data)
        skipped = max(0, self._first - entry.offset)
        left = self._last - entry.offset
        if entry.is_stop or skipped >= max(1, len(sizes)) or left <= 0:
            return []
        if skipped == 0 and left >= len(sizes):
            return [entry]
        part = data[sum(sizes[:skipped]) : sum(sizes[:left])]
        return [entry._replace(shown=part, item=b"")]


class _Placed(NamedTuple):
    entry: LogprobEntry
    end: int
    """In characters of all that was written."""


def _sizes(data: bytes) -> list[int]:
    """The bytes of each character of a token; a part of one at either end counts as one."""
    sizes: list[int] = []
    for byte in data:
        if sizes and 0x80 <= byte < 0xC0:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes
