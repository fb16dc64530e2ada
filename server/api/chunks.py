"""The chunks of a stream, as OpenAI shapes them: one class per endpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from server.api.choices import News
from server.api.completion_form import CompletionForm
from server.api.schemas.usage import Usage
from server.api.shown_logprobs import ChatLogprobs, CompletionLogprobs
from server.assistant.answer import CallDelta, Delta
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

    def __init__(
        self, fields: Chunk, include_usage: bool, usage: Callable[[], Usage] | None = None
    ) -> None:
        """`usage` gives the tokens so far, if every chunk is to have them."""
        # With include_usage every chunk has the field, null in all but the last.
        self._fields = fields | {"usage": None} if include_usage else fields
        self._include_usage = include_usage
        self._usage = usage

    def chunk(self, choice: Chunk) -> Chunk:
        """A chunk with news of one choice."""
        usage = {} if self._usage is None else {"usage": self._usage().model_dump()}
        return {**self._fields, **usage, "choices": [choice]}

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

    def __init__(
        self,
        head: Chunk,
        include_usage: bool,
        form: CompletionForm,
        usage: Callable[[], Usage] | None = None,
    ) -> None:
        self._head = ChunkHead(head | {"object": "text_completion"}, include_usage, usage)
        self._form = form
        self._logprobs = CompletionLogprobs(form)
        self._begun: set[int] = set()

    def opening(self) -> list[Chunk]:
        """Nothing: the first chunk has text."""
        return []

    def news(self, news: News) -> list[Chunk]:
        """Text and finish reason in one chunk; none while text is held back."""
        self._logprobs.add(news)
        if not self._logprobs.has_prompt(news.index):
            return []
        is_first = news.index not in self._begun
        self._begun.add(news.index)
        text = self._form.text(news.index, news.text) if is_first else news.text
        if not text and not news.prompt_logprobs and news.finish_reason is None:
            return []
        choice = {
            "index": news.index,
            "text": text,
            "logprobs": self._logprobs.take(news.index),
            "finish_reason": news.finish_reason,
        }
        return [self._head.chunk(choice)]

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)


@dataclass(frozen=True)
class ChatStream:
    """What a stream of a chat shows."""

    choices: int
    include_usage: bool = False
    usage: Callable[[], Usage] | None = None
    """Gives the tokens so far, if every chunk is to have them."""
    tokenizer: Tokenizer | None = None
    """Given if the log-probabilities are shown."""
    include_reasoning: bool = True
    has_content: bool = True
    """Whether there may be any: not where a call must be made."""


class ChatChunks:
    """Chunks of /v1/chat/completions."""

    def __init__(self, head: Chunk, stream: ChatStream) -> None:
        fields = head | {"object": "chat.completion.chunk", "service_tier": "default"}
        self._head = ChunkHead(fields, stream.include_usage, stream.usage)
        self._stream = stream
        # Those of text that no chunk has had go with the next one.
        self._logprobs = ChatLogprobs(stream.tokenizer)

    def opening(self) -> list[Chunk]:
        """The role of each choice, once: clients concatenate what they get twice."""
        content = "" if self._stream.has_content else None
        delta = {"role": "assistant", "content": content, "refusal": None}
        return [self._choice(index, delta, None) for index in range(self._stream.choices)]

    def news(self, news: News) -> list[Chunk]:
        """A chunk for each delta, then one with the finish reason and an empty delta."""
        chunks = []
        self._logprobs.add(news)
        for delta in news.deltas:
            if delta.reasoning and not self._stream.include_reasoning:
                continue
            logprobs = self._logprobs.take(news.index)
            chunks.append(self._choice(news.index, _delta(delta), None, logprobs))
        if news.finish_reason is not None:
            index = news.index
            held = self._logprobs.take(index) if self._logprobs.has(index) else None
            chunks.append(self._choice(news.index, {}, news.finish_reason, held))
        return chunks

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The usage and the saved state, if they were asked for."""
        return self._head.closing(usage, state_id)

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
