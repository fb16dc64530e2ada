"""An answer as Anthropic's clients see it: its blocks as they grow, and the events about them."""

from typing import Any
from uuid import uuid4

from server.api.assistant.answer import Delta
from server.api.assistant.arguments import arguments_object
from server.api.choices import Finish, News
from server.api.chunks import Chunk
from server.api.dialects import ANTHROPIC
from server.api.errors import ApiError
from server.api.messages.chat_request import CALL_PREFIX
from server.api.schemas.messages import MessageResponse, MessageUsage
from server.api.schemas.usage import Usage
from server.api.sse import Framing, encode_json, typed_event
from server.logs import request_id


class MessageAnswer:
    """Follows one generation with one choice; the Chunks of a stream, and the message after it.

    The arguments of a call are told when they are whole: clients parse them, so they must be JSON.
    """

    def __init__(self, model: str, prompt_tokens: int, stop_sequences: list[str]) -> None:
        ident = f"msg_{uuid4().hex}"
        usage = MessageUsage(
            input_tokens=prompt_tokens,
            cache_creation_input_tokens=0,
            cache_read_input_tokens=0,
            output_tokens=0,
        )
        self.message = MessageResponse(
            id=ident, model=model, content=[], stop_reason=None, stop_sequence=None, usage=usage
        ).model_dump()
        """As the API shows it now."""
        self._stop_sequences = stop_sequences
        self._block: dict[str, Any] | None = None
        self._arguments = ""
        self._call = -1

    def opening(self) -> list[Chunk]:
        """The message without content; what the cache had is known at the end."""
        return [{"type": "message_start", "message": {**self.message, "content": []}}]

    def news(self, news: News) -> list[Chunk]:
        """For new text, a finish reason, or both."""
        events: list[Chunk] = []
        for delta in news.deltas:
            if not self._takes(delta):
                events += self._close() + self._open(delta)
            events += self._grow(delta)
        if news.finish_reason is not None:
            events += self._close()
            self.message |= self._reason(news.finish_reason, news.stop_string)
        return events

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """Why it ended, and what it took."""
        del state_id
        cached = usage.prompt_tokens_details.cached_tokens
        written = usage.prompt_tokens_details.cache_write_tokens
        self.message["usage"] = MessageUsage(
            input_tokens=max(0, usage.prompt_tokens - cached - written),
            cache_creation_input_tokens=written,
            cache_read_input_tokens=cached,
            output_tokens=usage.completion_tokens,
        ).model_dump()
        delta = {name: self.message[name] for name in ("stop_reason", "stop_sequence")}
        ending = {"type": "message_delta", "delta": delta, "usage": self.message["usage"]}
        return [ending, {"type": "message_stop"}]

    def _takes(self, delta: Delta) -> bool:
        """Whether it is more of the block at hand, rather than the next one."""
        kind = None if self._block is None else self._block["type"]
        if delta.call is not None:
            return kind == "tool_use" and delta.call.index == self._call
        return kind == ("thinking" if delta.reasoning else "text")

    def _open(self, delta: Delta) -> list[Chunk]:
        if delta.call is not None:
            self._call, self._arguments = delta.call.index, ""
            ident = f"{CALL_PREFIX}{delta.call.id}"
            self._block = {"type": "tool_use", "id": ident, "name": delta.call.name, "input": {}}
        elif delta.reasoning:
            self._block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            self._block = {"type": "text", "text": ""}
        self.message["content"].append(self._block)
        return [self._event("content_block_start", content_block={**self._block})]

    def _grow(self, delta: Delta) -> list[Chunk]:
        assert self._block is not None
        if delta.call is not None:
            self._arguments += delta.call.arguments
            return []
        name = "thinking" if delta.reasoning else "text"
        text = delta.reasoning or delta.content
        if not text:
            return []
        self._block[name] += text
        return [self._delta(f"{name}_delta", name, text)]

    def _close(self) -> list[Chunk]:
        if self._block is None:
            return []
        events = []
        if self._block["type"] == "tool_use":
            self._block["input"] = arguments_object(self._arguments)
            text = encode_json(self._block["input"]).decode()
            events.append(self._delta("input_json_delta", "partial_json", text))
        self._block = None
        return [*events, self._event("content_block_stop")]

    def _delta(self, kind: str, name: str, text: str) -> Chunk:
        return self._event("content_block_delta", delta={"type": kind, name: text})

    def _event(self, kind: str, **fields: Any) -> Chunk:
        return {"type": kind, "index": len(self.message["content"]) - 1, **fields}

    def _reason(self, finish: Finish, stop_string: str) -> dict[str, str | None]:
        reason, sequence = "end_turn", None
        if finish == "length":
            reason = "max_tokens"
        elif any(block["type"] == "tool_use" for block in self.message["content"]):
            reason = "tool_use"
        elif stop_string in self._stop_sequences:
            reason, sequence = "stop_sequence", stop_string
        return {"stop_reason": reason, "stop_sequence": sequence}


def _failure(error: ApiError) -> list[Chunk]:
    return [ANTHROPIC.error(error.body["error"], error.status_code, request_id.get())]


FRAMING = Framing(typed_event, _failure, end=b"", ping=typed_event({"type": "ping"}))
"""Of the events of /v1/messages."""
