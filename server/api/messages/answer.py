"""An answer as a message of blocks, and the events that make it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from server.api.choices import News, TokenCount
from server.api.chunks import Chunk
from server.api.messages.chat_request import CALL_PREFIX
from server.api.schemas.messages import CountTokensRequest
from server.api.schemas.usage import Usage
from server.assistant.answer import Delta
from server.assistant.arguments import arguments_object
from server.json_pieces import encode_json

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TEXTS = {"text": "text_delta", "thinking": "thinking_delta"}
"""Blocks that grow by a field of their own name, and the type of such a delta."""


class MessageAnswer:
    """The one way for whole messages and streams: `message` is what the events make together.

    `tokens` gives the count as far as it is known. The arguments of a call are told when they are
    whole: clients parse them, so they must be a JSON object whatever the model wrote.
    """

    def __init__(
        self, model: str, body: CountTokensRequest, tokens: Callable[[], TokenCount], kept: int = 0
    ) -> None:
        """`kept`: how many tokens of the prompt are before the last cache_control."""
        self.message: Chunk = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        self._stops = frozenset((*body.stop_sequences, *body.stop))
        self._hides_thoughts = body.hides_thoughts
        self._tokens = tokens
        self._kept = kept
        self._open: Chunk | None = None
        self._pieces: list[str] = []
        """Of the text, or of the arguments of the call, that is open."""

    def opening(self) -> list[Chunk]:
        """The message without content."""
        message = {
            **self.message,
            "content": [],
            "usage": usage_of(self._tokens().usage(), self._kept),
        }
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def news(self, news: News) -> list[Chunk]:
        """What was added, and at the end the end of the last block."""
        events = [event for delta in news.deltas for event in self._add(delta)]
        if news.finish_reason is not None:
            events += self._close()
            self._end(news)
        return events

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """Why it ended, and the usage."""
        del state_id  # nothing saves states of messages
        self.message["usage"] = counts = usage_of(usage, self._kept)
        delta = {name: self.message[name] for name in ("stop_reason", "stop_sequence")}
        return [
            {"type": "message_delta", "delta": delta, "usage": counts},
            {"type": "message_stop"},
        ]

    def _end(self, news: News) -> None:
        reason = _FINISH[news.finish_reason or "stop"]
        calls = any(block["type"] == "tool_use" for block in self.message["content"])
        if reason == "end_turn" and calls:
            reason = "tool_use"  # also of a call that was asked for by its name
        elif reason == "end_turn" and news.stop_string in self._stops:
            reason = "stop_sequence"
            self.message["stop_sequence"] = news.stop_string
        self.message["stop_reason"] = reason

    def _add(self, delta: Delta) -> list[Chunk]:
        if delta.call is not None:
            call, events = delta.call, []
            if call.name:
                ident = f"{CALL_PREFIX}{call.id}"
                block = {"type": "tool_use", "id": ident, "name": call.name, "input": {}}
                events = self._begin(block)
            self._pieces.append(call.arguments)
            return events
        if delta.reasoning:
            return [] if self._hides_thoughts else self._grow("thinking", delta.reasoning)
        return self._grow("text", delta.content)

    def _grow(self, kind: str, text: str) -> list[Chunk]:
        events: list[Chunk] = []
        if self._open is None or self._open["type"] != kind:
            signature = {"signature": ""} if kind == "thinking" else {}
            events = self._begin({"type": kind, kind: ""} | signature)
        self._pieces.append(text)
        return [*events, self._delta({"type": _TEXTS[kind], kind: text})]

    def _begin(self, block: Chunk) -> list[Chunk]:
        events = self._close()
        self._open = block
        self.message["content"].append(block)
        return [*events, self._event("content_block_start", content_block=dict(block))]

    def _close(self) -> list[Chunk]:
        block, self._open = self._open, None
        if block is None:
            return []
        events = []
        said = "".join(self._pieces)
        self._pieces.clear()
        if block["type"] in _TEXTS:
            block[block["type"]] = said
        if block["type"] == "thinking":
            events.append(self._delta({"type": "signature_delta", "signature": ""}))
        if block["type"] == "tool_use":
            block["input"] = arguments_object(said)
            text = encode_json(block["input"]).decode()
            events.append(self._delta({"type": "input_json_delta", "partial_json": text}))
        return [*events, self._event("content_block_stop")]

    def _delta(self, delta: Chunk) -> Chunk:
        return self._event("content_block_delta", delta=delta)

    def _event(self, kind: str, **fields: Any) -> Chunk:
        return {"type": kind, "index": len(self.message["content"]) - 1, **fields}


def usage_of(usage: Usage, kept: int) -> dict[str, int]:
    """The tokens, each of the prompt's counted once.

    Written to the cache are those that cache_control asks to be kept, as Anthropic counts them:
    what this server keeps besides is input as any other.
    """
    details = usage.prompt_tokens_details
    cached = min(details.cached_tokens, usage.prompt_tokens)
    written = min(max(0, kept - cached), details.cache_write_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached - written,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.completion_tokens,
    }
