"""An answer as Ollama's clients see it: lines of JSON, or all of them as one object."""

from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from server.api.choices import News
from server.api.chunks import Chunk
from server.api.dialects import OLLAMA
from server.api.errors import ApiError
from server.api.schemas.usage import Usage
from server.api.shown_logprobs import ChatLogprobs
from server.api.sse import Framing
from server.assistant.answer import CallDelta, Delta
from server.assistant.arguments import arguments_object
from server.json_pieces import encode_pieces
from server.tokenizer.base import Tokenizer

FRAMING = Framing(
    event=lambda chunk: [*encode_pieces(chunk), b"\n"],
    failure=lambda error: [_failure(error)],
    end=b"",
    ping=b"",  # their clients know nothing that means nothing
    media_type="application/x-ndjson",
)
"""Of the lines of /api."""


class OllamaLines:
    """Follows one generation with one choice; the Chunks of a stream, and the answer after it.

    Calls of tools are told when they are whole.
    """

    def __init__(
        self,
        model: str,
        is_chat: bool,
        is_raw: bool = False,
        tokenizer: Tokenizer | None = None,
        is_streamed: bool = True,
    ) -> None:
        """Raw answers are plain text. With a tokenizer there are log-probabilities.

        An answer that is streamed is not kept for whole().
        """
        self._model = model
        self._is_chat = is_chat
        self._is_raw = is_raw
        self._is_streamed = is_streamed
        self._has_logprobs = tokenizer is not None
        self._logprobs = ChatLogprobs(tokenizer)
        self._began = perf_counter()
        self._read = self._began
        self._reason = ""
        self._call: CallDelta | None = None
        self._arguments: list[str] = []
        """Of the call, in pieces."""
        self._lines: list[Chunk] = []

    def opening(self) -> list[Chunk]:
        """Nothing: the first line has text."""
        return []

    def news(self, news: News) -> list[Chunk]:
        """For new text, a finish reason, or both."""
        if self._read == self._began:
            self._read = perf_counter()
        self._logprobs.extend(0, news.logprobs)
        lines: list[Chunk] = []
        for delta in [Delta(content=news.text)] if self._is_raw else news.deltas:
            if delta.call is not None:
                lines += self._calls(delta.call)
            elif delta.content or delta.reasoning:
                lines += [*self._told(), self._line(delta.content, delta.reasoning)]
        if news.finish_reason is not None:
            lines += self._told()
            self._reason = "length" if news.finish_reason == "length" else "stop"
        if not self._is_streamed:
            self._lines += lines
        return lines

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """Why it ended, and how long it took."""
        del state_id
        ended = perf_counter()
        line = self._line("", "")
        line |= {
            "done": True,
            "done_reason": self._reason,
            "total_duration": int((ended - self._began) * 1e9),
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": int((self._read - self._began) * 1e9),
            "eval_count": usage.completion_tokens,
            "eval_duration": int((ended - self._read) * 1e9),
        }
        self._lines.append(line)
        return [line]

    def whole(self) -> Chunk:
        """All lines as one, after the last."""
        answer = self._lines[-1]
        if logprobs := self._logprobs.take(0):
            answer["logprobs"] = logprobs["content"]
        if not self._is_chat:
            return answer | _joined(self._lines, "response")
        messages = [line["message"] for line in self._lines]
        message = {"role": "assistant", **_joined(messages, "content")}
        if calls := [call for each in messages for call in each.get("tool_calls", ())]:
            message["tool_calls"] = calls
        return answer | {"message": message}

    def _line(self, content: str, thinking: str, **others: Any) -> Chunk:
        said: Chunk = {"thinking": thinking} if thinking else {}
        line = head_of(self._model)
        if self._is_chat:
            line["message"] = {"role": "assistant", "content": content, **said, **others}
        else:
            line |= {"response": content, **said}
        line["done"] = False
        if self._has_logprobs and not self._is_streamed:
            line["logprobs"] = []  # all together at the end
        elif logprobs := self._logprobs.take(0):
            line["logprobs"] = logprobs["content"]
        return line

    def _calls(self, delta: CallDelta) -> list[Chunk]:
        if self._call is not None and self._call.index == delta.index:
            self._arguments.append(delta.arguments)
            return []
        lines = self._told()
        self._call, self._arguments = delta, [delta.arguments]
        return lines

    def _told(self) -> list[Chunk]:
        """The call that is whole now, if there is one."""
        if self._call is None:
            return []
        arguments = arguments_object("".join(self._arguments))
        function = {"name": self._call.name, "arguments": arguments}
        self._call = None
        return [self._line("", "", tool_calls=[{"function": function}])]


def head_of(model: str) -> Chunk:
    """What every line has."""
    return {"model": model, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _joined(lines: list[Chunk], name: str) -> Chunk:
    thoughts = "".join(line.get("thinking", "") for line in lines)
    text = {name: "".join(line[name] for line in lines)}
    return text | {"thinking": thoughts} if thoughts else text


def _failure(error: ApiError) -> Chunk:
    return OLLAMA.error(error.body["error"], error.status_code, "")
