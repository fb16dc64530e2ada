"""Ids of the beginnings of conversations that were encoded lately, found by a hash of their text.

The next turn of a conversation begins with all of the last one. So its ids are known, and only what
was said since is encoded: a turn costs its own text, not its history's.
"""

import hashlib
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

from server.tokenizer.base import Tokenizer, utf8
from server.tokenizer.prompt_parts import EncodedPrompt, Part, Span
from server.tokenizer.template_text import plain

MAX_ENTRIES = 256
MAX_IDS = 2 << 20
"""Of all entries; each takes eight bytes."""
MIN_IDS = 512
"""Of an entry: fewer are encoded in a millisecond."""

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EncodedPrefix:
    """What so many characters of a text have become, whatever follows them."""

    tokenizer: "weakref.ref[Tokenizer]"
    characters: int
    written: Ranges
    """Runs of these characters that the template wrote."""
    ids: list[int]
    spans: list[Span]
    """The last one may end amid a part."""

    def begins(self, parts: list[Part]) -> bool:
        """Whether the parts of a longer text are these, up to there."""
        if not 0 < len(self.spans) <= len(parts):
            return False
        for part, span in zip(parts, self.spans, strict=False):
            is_special = part.token_id is not None
            end = part.end if is_special else min(part.end, self.characters)
            if (part.start, end, is_special) != (span.start, span.end, span.is_special):
                return False
        return True


class EncodedPrefixes:
    """A bounded number of them, the latest; for any thread.

    `space` is whose text it is: nobody learns by the time that takes what others have said.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_ids: int = MAX_IDS) -> None:
        self._max_entries, self._max_ids = max_entries, max_ids
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, bytes], EncodedPrefix] = OrderedDict()
        self._count = 0

    def find(self, space: str, text: str, tokenizer: Tokenizer) -> EncodedPrefix | None:
        """The longest that the text begins with."""
        with self._lock:
            known = {
                key: entry
                for key, entry in self._entries.items()
                if key[0] == space and entry.tokenizer() is tokenizer
            }
        lengths = sorted({e.characters for e in known.values() if e.characters <= len(text)})
        found = None
        for length, digest in zip(lengths, _digests(text, lengths), strict=True):
            entry = known.get((space, digest))
            if entry is not None and entry.written == _written_until(text, length):
                found = (space, digest), entry
        if found is None:
            return None
        with self._lock:
            if found[0] in self._entries:
                self._entries.move_to_end(found[0])
        return found[1]

    def keep(self, space: str, text: str, prompt: EncodedPrompt, tokenizer: Tokenizer) -> None:
        """What has become of a text, as far as nothing that follows can change it."""
        entry = _settled(text, prompt, tokenizer)
        if len(entry.ids) < MIN_IDS or len(entry.ids) > self._max_ids:
            return
        (digest,) = _digests(text, [entry.characters])
        with self._lock:
            self._remove((space, digest))
            self._entries[space, digest] = entry
            self._count += len(entry.ids)
            while self._count > self._max_ids or len(self._entries) > self._max_entries:
                self._remove(next(iter(self._entries)))

    def _remove(self, key: tuple[str, bytes]) -> None:
        entry = self._entries.pop(key, None)
        self._count -= len(entry.ids) if entry else 0


def _settled(text: str, prompt: EncodedPrompt, tokenizer: Tokenizer) -> EncodedPrefix:
    spans = _whole_parts(prompt.spans)
    end, count = len(text), len(prompt.ids)
    if spans and not spans[-1].is_special:
        last = spans.pop()
        own = prompt.ids[last.first : last.last]
        characters, number = tokenizer.settled(plain(text)[last.start : last.end], own)
        end, count = last.start + characters, last.first + number
        if characters:
            spans.append(Span(last.start, end, last.first, count))
    written = _written_until(text, end)
    return EncodedPrefix(weakref.ref(tokenizer), end, written, prompt.ids[:count], spans)


def _whole_parts(spans: list[Span]) -> list[Span]:
    """With those of one text as one, which was encoded in two steps."""
    found: list[Span] = []
    for span in spans:
        if found and not (found[-1].is_special or span.is_special):
            begun = found.pop()
            span = Span(begun.start, span.end, begun.first, span.last)
        found.append(span)
    return found


def _digests(text: str, lengths: list[int]) -> list[bytes]:
    """Of the beginnings of a text of these lengths, which ascend."""
    running, found, characters = hashlib.blake2b(digest_size=16), [], plain(text)
    for start, end in pairwise([0, *lengths]):
        running.update(utf8(characters[start:end]))
        found.append(running.digest())
    return found


def _written_until(text: str, end: int) -> Ranges:
    written: Ranges = getattr(text, "written", ())
    return tuple((low, min(high, end)) for low, high in written if low < end)
