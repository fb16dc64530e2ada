"""The chunks of a stream, as OpenAI shapes them: one class per endpoint."""

from typing import Any, Protocol

from server.api.assistant.answer import CallDelta, Delta
from server.api.generation import News
from server.api.schemas.usage import Usage

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

    def __init__(self, head: Chunk, include_usage: bool) -> None:
        self._head = ChunkHead(head | {"object": "text_completion"}, include_usage)

    def opening(self) -> list[Chunk]:
        """Nothing: the first chunk has text."""
        return []

    def news(self, news: News) -> list[Chunk]:
        """Text and finish reason in one chunk; none while text is held back."""
        if not news.text and news.finish_reason is None:
            return []
        choice = {
            "index": news.index,
            "text": news.text,
            "logprobs": None,
            "finish_reason": news.finish_reason,
        }
        return [self._head.chunk(choice)]

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)


class ChatChunks:
    """Chunks of /v1/chat/completions for `count` choices."""

    def __init__(self, head: Chunk, include_usage: bool, count: int) -> None:
        fields = head | {"object": "chat.completion.chunk", "service_tier": "default"}
        self._head = ChunkHead(fields, include_usage)
        self._count = count

    def opening(self) -> list[Chunk]:
        """The role of each choice, once: clients concatenate what they get twice."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return [self._choice(index, delta, None) for index in range(self._count)]

    def news(self, news: News) -> list[Chunk]:
        """A chunk for each delta, then one with the finish reason and an empty delta."""
        chunks = [self._choice(news.index, _delta(delta), None) for delta in news.deltas]
        if news.finish_reason is not None:
            chunks.append(self._choice(news.index, {}, news.finish_reason))
        return chunks

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)

    def _choice(self, index: int, delta: Chunk, finish_reason: str | None) -> Chunk:
        return self._head.chunk(
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        )


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
