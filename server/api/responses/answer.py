"""A response while it is made: its output so far, and the events that tell of it."""

import time
from typing import Any

from server.api.choices import Finish, News
from server.api.chunks import Chunk
from server.api.errors import ApiError
from server.api.responses.output_items import OutputItem, item_of
from server.api.responses.text_logprobs import TextLogprobs
from server.api.responses.tools import OfferedTools
from server.api.schemas.response_object import ResponseFailure, ResponseUsage
from server.api.schemas.usage import Usage
from server.assistant.answer import Delta
from server.stores.responses.records import Item
from server.tokenizer.base import Tokenizer

_INVALID, _TOO_MUCH = 400, 429


class Answer:
    """Follows one generation with one choice; the Chunks of a stream, and the response after it.

    `response` is as the API shows it now. Whoever wants no events just does not send them: there is
    one way in which the output comes about.
    """

    def __init__(
        self,
        response: dict[str, Any],
        tokenizer: Tokenizer | None = None,
        tools: OfferedTools | None = None,
    ) -> None:
        """With a tokenizer, its messages have log-probabilities."""
        self.response = response
        self.tools = tools or OfferedTools()
        self.text = TextLogprobs(tokenizer)
        self._item: OutputItem | None = None
        self._finish: Finish | None = None
        self._sequence = 0

    @property
    def output(self) -> list[Item]:
        """The items that are done."""
        items: list[Item] = self.response["output"]
        return items

    def opening(self) -> list[Chunk]:
        """That there is a response, and what it is waiting for."""
        waiting = self.response["status"]
        return self._numbered([self._state("response.created"), self._state(f"response.{waiting}")])

    def begin(self) -> list[Chunk]:
        """A queued response is being made."""
        self.response["status"] = "in_progress"
        return self._numbered([self._state("response.in_progress")])

    def news(self, news: News) -> list[Chunk]:
        """For new text, a finish reason, or both."""
        events: list[Chunk] = []
        self.text.push(news)
        for delta in news.deltas:
            if self._item is None or not self._item.takes(delta):
                events += self._close(is_whole=True) + self._open(delta)
            events += self._grown(delta, self.text.take(delta))
        if news.finish_reason is not None:
            self._finish = news.finish_reason
            if self._item is None:
                events += self._open(Delta())
            events += self._close(is_whole=news.finish_reason != "length")
        return self._numbered(events)

    def complete(self, usage: Usage) -> None:
        """The generation is over; without effect the second time."""
        if self.response["status"] != "in_progress":
            return
        is_whole = self._finish != "length"
        self.response["usage"] = ResponseUsage.of(usage).model_dump()
        if is_whole:
            self.response |= {"status": "completed", "completed_at": int(time.time())}
        else:
            details = {"reason": "max_output_tokens"}
            self.response |= {"status": "incomplete", "incomplete_details": details}

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """The whole response."""
        del state_id  # responses are gone on from by their own ids
        self.complete(usage)
        return self._numbered([self._state(f"response.{self.response['status']}")])

    def failure(self, error: ApiError) -> list[Chunk]:
        """What went wrong, and the response that failed."""
        inner = error.body["error"]
        code = "server_error"
        if error.status_code == _TOO_MUCH:
            code = "rate_limit_exceeded"
        elif error.status_code == _INVALID:
            code = "invalid_prompt"
        failure = ResponseFailure(
            code=code, message=inner["message"], param=inner["param"], type=error.code
        )
        self.response |= {"status": "failed", "error": failure.model_dump()}
        told = {name: inner[name] for name in ("code", "message", "param")}
        return self._numbered([{"type": "error", **told}, self._state("response.failed")])

    def _open(self, delta: Delta) -> list[Chunk]:
        self._item = item_of(delta, len(self.output), self.tools)
        return self._item.opening()

    def _grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        assert self._item is not None
        return self._item.grown(delta, logprobs)

    def _close(self, is_whole: bool) -> list[Chunk]:
        if self._item is None:
            return []
        events = self._item.closing(is_whole)
        self.output.append(events[-1]["item"])
        self._item = None
        return events

    def _state(self, kind: str) -> Chunk:
        # A copy: events that wait to be read must not change.
        return {"type": kind, "response": {**self.response, "output": [*self.output]}}

    def _numbered(self, events: list[Chunk]) -> list[Chunk]:
        for event in events:
            event["sequence_number"] = self._sequence
            self._sequence += 1
        return events
