"""The chunks of a stream, as OpenAI shapes them: one class per endpoint."""

from collections import defaultdict
from typing import Any, Protocol

from server.api.assistant.answer import CallDelta, Delta
from server.api.choices import News
from server.api.completion_form import PLAIN, CompletionForm
from server.api.logprobs import LogprobEntry, chat_logprobs
from server.api.schemas.usage import Usage
from server.tokenizer.base import Tokenizer

Chunk = dict[str, Any]


class Chunks(Protocol):
    """What a stream needs to know of its endpoint."""

    def opening(self) -> list[Chunk]:
        """Before anything else."""

    def news(self, news: News) -> list[Chunk]:
        """For new text, a finish reason, or both."""

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """After everything else; with the id of the state that was saved, if one was."""


class ChunkHead:
    """The fields that all chunks of a stream share."""

    def __init__(self, fields: Chunk, include_usage: bool) -> None:
        # With include_usage every chunk has the field, null in all but the last.
        self._fields = fields | {"usage": None} if include_usage else fields
        self._include_usage = include_usage

    def chunk(self, choice: Chunk) -> Chunk:
        """A chunk with news of one choice."""
        return {**self._fields, "choices": [choice]}

    def closing(self, usage: Usage, state_id: str) -> list[Chunk]:
        """A chunk without choices, for what was asked for of usage and saved state."""
        closing: Chunk = {}
        if self._include_usage:
            closing["usage"] = usage.model_dump()
        if state_id:
            closing["state_id"] = state_id
        return [{**self._fields, "choices": [], **closing}] if closing else []


class CompletionChunks:
    """Chunks of /v1/completions."""

    def __init__(self, head: Chunk, include_usage: bool, form: CompletionForm = PLAIN) -> None:
        self._head = ChunkHead(head | {"object": "text_completion"}, include_usage)
        self._form = form
        self._begun: set[int] = set()

    def opening(self) -> list[Chunk]:
        """Nothing: the first chunk has text."""
        return []

    def news(self, news: News) -> list[Chunk]:
        """Text and finish reason in one chunk; none while text is held back."""
        text = news.text
        if news.index not in self._begun:
            self._begun.add(news.index)
            text = self._form.echo(news.index) + text
        if not text and not news.prompt_logprobs and news.finish_reason is None:
            return []
        choice = {
            "index": news.index,
            "text": text,
            "logprobs": self._form.logprobs(news.index, news.prompt_logprobs, news.logprobs),
            "finish_reason": news.finish_reason,
        }
        return [self._head.chunk(choice)]

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)


class ChatChunks:
    """Chunks of /v1/chat/completions for `count` choices; with a tokenizer, with logprobs."""

    def __init__(
        self, head: Chunk, include_usage: bool, count: int, tokenizer: Tokenizer | None = None
    ) -> None:
        fields = head | {"object": "chat.completion.chunk", "service_tier": "default"}
        self._head = ChunkHead(fields, include_usage)
        self._count = count
        self._tokenizer = tokenizer
        # Of text that no chunk has had: they go with the next one.
        self._logprobs: dict[int, list[LogprobEntry]] = defaultdict(list)

    def opening(self) -> list[Chunk]:
        """The role of each choice, once: clients concatenate what they get twice."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return [self._choice(index, delta, None) for index in range(self._count)]

    def news(self, news: News) -> list[Chunk]:
        """A chunk for each delta, then one with the finish reason and an empty delta."""
        chunks = []
        self._logprobs[news.index] += news.logprobs
        for delta in news.deltas:
            logprobs = self._take_logprobs(news.index)
            chunks.append(self._choice(news.index, _delta(delta), None, logprobs))
        if news.finish_reason is not None:
            held = self._take_logprobs(news.index) if self._logprobs[news.index] else None
            chunks.append(self._choice(news.index, {}, news.finish_reason, held))
        return chunks

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)

    def _take_logprobs(self, index: int) -> Chunk | None:
        return chat_logprobs(self._logprobs.pop(index, []), self._tokenizer)

    def _choice(
        self, index: int, delta: Chunk, finish_reason: str | None, logprobs: Chunk | None = None
    ) -> Chunk:
        choice = {"index": index, "delta": delta, "logprobs": logprobs}
        return self._head.chunk(choice | {"finish_reason": finish_reason})


def _delta(delta: Delta) -> Chunk:
    if delta.call is not None:
        return {"tool_calls": [_call(delta.call)]}
    if delta.reasoning:
        return {"reasoning_content": delta.reasoning, "reasoning": delta.reasoning}
    return {"content": delta.content}


def _call(call: CallDelta) -> Chunk:
    """Name and id once: clients concatenate what they get twice."""
    if not call.name:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}
