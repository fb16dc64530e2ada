"""The log-probabilities of choices as endpoints show them: gathered as they come, then taken."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from server.api.choices import News
from server.api.completion_form import CompletionForm
from server.api.logprobs import LogprobEntry, chat_tokens, token_text, top_by_text
from server.json_pieces import JsonList
from server.tokenizer.base import Tokenizer


class ChatLogprobs:
    """As /v1/chat/completions has them."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        """Without a tokenizer none are wanted."""
        self._tokenizer = tokenizer
        self._held: dict[int, JsonList] = {}

    def add(self, news: News) -> None:
        """Take in what came of a choice's content."""
        self.extend(news.index, news.content_logprobs)

    def extend(self, index: int, entries: Sequence[LogprobEntry]) -> None:
        """Take in more of a choice."""
        if self._tokenizer is not None and entries:
            held = self._held.setdefault(index, JsonList())
            held.extend(chat_tokens(entries, self._tokenizer))

    def has(self, index: int) -> bool:
        """Whether some came of a choice since the last time."""
        return index in self._held

    def take(self, index: int) -> dict[str, Any] | None:
        """Those of a choice since the last time."""
        if self._tokenizer is None:
            return None
        return {"content": self._held.pop(index, None) or JsonList(), "refusal": None}


class CompletionLogprobs:
    """As /v1/completions has them, those of the prompts before them."""

    def __init__(self, form: CompletionForm) -> None:
        self._form = form
        self._held: dict[int, _Lists] = {}

    def add(self, news: News) -> None:
        """Take in what came of a choice."""
        if self._form.tokenizer is None:
            return
        held = self._held.get(news.index)
        if held is None:
            held = self._held[news.index] = _Lists(self._form.tokenizer)
        begins = self._form.answer_begins(news.index)
        held.of_prompt += len(news.prompt_logprobs)
        held.add((entry, min(entry.offset, begins)) for entry in news.prompt_logprobs)
        held.add((entry, entry.offset + begins) for entry in news.logprobs)

    def has_prompt(self, index: int) -> bool:
        """Whether all that there will be of the prompt of a choice is there, or was taken."""
        held = self._held.get(index)
        return held is None or held.of_prompt in (0, self._form.logprobs_of_prompt(index))

    def take(self, index: int) -> dict[str, Any] | None:
        """Those of a choice since the last time."""
        if self._form.tokenizer is None:
            return None
        return (self._held.pop(index, None) or _Lists(self._form.tokenizer)).shown


class _Lists:
    """Lists side by side."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        self.shown = {name: JsonList() for name in names}
        self.of_prompt = 0

    def add(self, placed: Iterable[tuple[LogprobEntry, int]]) -> None:
        """Append tokens, each with its place in the text."""
        for entry, offset in placed:
            logprob = None if entry.logprobs is None else entry.logprobs.logprob
            text = token_text(entry.token_id, self._tokenizer)
            values = (text, logprob, top_by_text(entry, self._tokenizer), offset)
            for items, value in zip(self.shown.values(), values, strict=True):
                items.append((msgspec.json.encode(value),))
