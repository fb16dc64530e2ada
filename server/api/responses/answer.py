"""A response while it is made: its output so far, and the events that tell of it."""

import time
from typing import Any

from server.api.choices import Finish, News
from server.api.chunks import Chunk
from server.api.errors import ApiError
from server.api.responses.items import new_id
from server.api.schemas.response_object import ResponseFailure, ResponseUsage
from server.api.schemas.usage import Usage
from server.conversations.records import Item

_INVALID, _TOO_MUCH = 400, 429


class MessageInProgress:
    """A message of the output, as it grows.

    Each kind of output item has such a class: events when it begins, for its pieces, and when it
    is done, of which the last has the whole item.
    """

    def __init__(self, index: int) -> None:
        self._ident = new_id("message")
        self._index = index
        self._pieces: list[str] = []

    def opening(self) -> list[Chunk]:
        """An empty message, then an empty part in it."""
        return [
            {"type": "response.output_item.added", **self._item("in_progress", [])},
            {"type": "response.content_part.added", **self._place, "part": self._part("")},
        ]

    def delta(self, text: str) -> list[Chunk]:
        """More text."""
        self._pieces.append(text)
        place = self._place
        return [
            {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        ]

    def closing(self, is_whole: bool) -> list[Chunk]:
        """All of the text, and the item."""
        text, place = "".join(self._pieces), self._place
        part = self._part(text)
        status = "completed" if is_whole else "incomplete"
        return [
            {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
            {"type": "response.content_part.done", **place, "part": part},
            {"type": "response.output_item.done", **self._item(status, [part])},
        ]

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._ident, "output_index": self._index, "content_index": 0}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        item: Item = {
            "id": self._ident,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }
        return {"output_index": self._index, "item": item}


class Answer:
    """Follows one generation with one choice; the Chunks of a stream, and the response after it.

    `response` is as the API shows it now. Whoever wants no events just does not send them: there is
    one way in which the output comes about.
    """

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self._message: MessageInProgress | None = None
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
        # As in chat: without the space between "Assistant:" and the first word.
        text = news.text if self._message else news.text.lstrip()
        if self._message is None:
            if not text and news.finish_reason is None:
                return []
            self._message = MessageInProgress(len(self.output))
            events += self._message.opening()
        if text:
            events += self._message.delta(text)
        if news.finish_reason is not None:
            self._finish = news.finish_reason
            events += self._message.closing(is_whole=news.finish_reason == "stop")
            self.output.append(events[-1]["item"])
        return self._numbered(events)

    def complete(self, usage: Usage) -> None:
        """The generation is over; without effect the second time."""
        if self.response["status"] != "in_progress":
            return
        is_whole = self._finish == "stop"
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

    def _state(self, kind: str) -> Chunk:
        # A copy: events that wait to be read must not change.
        return {"type": kind, "response": {**self.response, "output": [*self.output]}}

    def _numbered(self, events: list[Chunk]) -> list[Chunk]:
        for event in events:
            event["sequence_number"] = self._sequence
            self._sequence += 1
        return events
