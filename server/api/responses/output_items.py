"""Items of a response's output as they grow: messages, thoughts and calls of tools.

Each kind has a class: events when it begins, for its pieces, and when it is done, of which the
last has the whole item.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from server.api.chunks import Chunk
from server.api.responses.custom_input import CustomInput
from server.api.responses.items import new_id
from server.api.responses.tools import Callee, OfferedTools
from server.assistant.answer import CallDelta, Delta
from server.assistant.arguments import arguments_object
from server.json_pieces import JsonList
from server.stores.responses.records import Item


class OutputItem(ABC):
    """What is being made at a place in the output."""

    kind: str

    def __init__(self, index: int) -> None:
        self._ident = new_id(self.kind)
        self._index = index
        self._pieces: list[str] = []

    @abstractmethod
    def takes(self, delta: Delta) -> bool:
        """Whether it is more of this item, rather than the next one."""

    @abstractmethod
    def opening(self) -> list[Chunk]:
        """That there is such an item, still empty."""

    @abstractmethod
    def grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        """More of it; with the log-probabilities of its text as JSON, if they were asked for."""

    @abstractmethod
    def closing(self, is_whole: bool) -> list[Chunk]:
        """All of it."""

    def _event(self, name: str, status: str, fields: dict[str, Any]) -> Chunk:
        item: Item = {"id": self._ident, "type": self.kind, "status": status, **fields}
        kind = f"response.output_item.{name}"
        return {"type": kind, "output_index": self._index, "item": item}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._ident, "output_index": self._index}


class _TextItem(OutputItem):
    """An item with one part, which is text."""

    part: ClassVar[str]
    """The type of the part."""
    of_part: ClassVar[dict[str, Any]] = {}
    """What the part has besides its text."""
    of_item: ClassVar[dict[str, Any]] = {}
    """What the item has besides its content."""

    def opening(self) -> list[Chunk]:
        added = self._event("added", "in_progress", {**self.of_item, "content": []})
        part = self._part("")
        return [added, {"type": "response.content_part.added", **self._in_part, "part": part}]

    def grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        text = delta.content or delta.reasoning
        if not text:
            return []
        self._pieces.append(text)
        kind = f"response.{self.part}.delta"
        return [{"type": kind, **self._in_part, "delta": text, **self._of_text(logprobs)}]

    def closing(self, is_whole: bool) -> list[Chunk]:
        text = "".join(self._pieces)
        part, place = self._part(text), self._in_part
        kind = f"response.{self.part}.done"
        status = "completed" if is_whole else "incomplete"
        return [
            {"type": kind, **place, "text": text, **self._of_all_text()},
            {"type": "response.content_part.done", **place, "part": part},
            self._event("done", status, {**self.of_item, "content": [part]}),
        ]

    @property
    def _in_part(self) -> dict[str, Any]:
        return {**self._place, "content_index": 0}

    def _of_text(self, logprobs: list[bytes]) -> dict[str, Any]:
        """What an event about some text has besides it."""
        del logprobs
        return {}

    def _of_all_text(self) -> dict[str, Any]:
        """And that about all of it."""
        return {}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": self.part, "text": text, **self.of_part}


class Message(_TextItem):
    """What the assistant says."""

    kind = "message"
    part = "output_text"
    of_part: ClassVar = {"annotations": []}
    of_item: ClassVar = {"role": "assistant"}

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._logprobs = JsonList()

    def takes(self, delta: Delta) -> bool:
        return bool(delta.content)

    def _of_text(self, logprobs: list[bytes]) -> dict[str, Any]:
        self._logprobs.extend(logprobs)
        return {"logprobs": JsonList(logprobs)}

    def _of_all_text(self) -> dict[str, Any]:
        return {"logprobs": self._logprobs}

    def _part(self, text: str) -> dict[str, Any]:
        # An event with a part that is still empty must not change when the part does.
        return super()._part(text) | {"logprobs": self._logprobs if text else []}


class Thoughts(_TextItem):
    """What the model thinks before it says something."""

    kind = "reasoning"
    part = "reasoning_text"
    of_item: ClassVar = {"summary": []}

    def takes(self, delta: Delta) -> bool:
        return bool(delta.reasoning)


class _Call(OutputItem):
    """A call of one of the client's tools."""

    def __init__(self, index: int, call: CallDelta, callee: Callee) -> None:
        super().__init__(index)
        self._number = call.index
        self._call = {"call_id": call.id, **callee.of_item}

    def takes(self, delta: Delta) -> bool:
        return delta.call is not None and delta.call.index == self._number


class FunctionCall(_Call):
    """A call of a function."""

    kind = "function_call"

    def opening(self) -> list[Chunk]:
        return [self._event("added", "in_progress", {**self._call, "arguments": ""})]

    def grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        del logprobs
        text = delta.call.arguments if delta.call else ""
        if not text:
            return []
        self._pieces.append(text)
        kind = "response.function_call_arguments.delta"
        return [{"type": kind, **self._place, "delta": text}]

    def closing(self, is_whole: bool) -> list[Chunk]:
        said = {"arguments": "".join(self._pieces)}
        kind = "response.function_call_arguments.done"
        status = "completed" if is_whole else "incomplete"
        return [
            {"type": kind, **self._place, "name": self._call["name"], **said},
            self._event("done", status, {**self._call, **said}),
        ]


class CustomToolCall(_Call):
    """A call of a tool whose input is text: the model wrote it as JSON."""

    kind = "custom_tool_call"

    def __init__(self, index: int, call: CallDelta, callee: Callee) -> None:
        super().__init__(index, call, callee)
        self._input = CustomInput()

    def opening(self) -> list[Chunk]:
        return [self._event("added", "in_progress", {**self._call, "input": ""})]

    def grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        del logprobs
        return self._more(self._input.push(delta.call.arguments if delta.call else ""))

    def closing(self, is_whole: bool) -> list[Chunk]:
        events = self._more(self._input.end())
        said = {"input": self._input.text}
        status = "completed" if is_whole else "incomplete"
        return [
            *events,
            {"type": "response.custom_tool_call_input.done", **self._place, **said},
            self._event("done", status, {**self._call, **said}),
        ]

    def _more(self, text: str) -> list[Chunk]:
        if not text:
            return []
        return [{"type": "response.custom_tool_call_input.delta", **self._place, "delta": text}]


class ToolSearchCall(_Call):
    """A search for tools, which the client does; there are no events for its arguments."""

    kind = "tool_search_call"

    def __init__(self, index: int, call: CallDelta, callee: Callee) -> None:
        super().__init__(index, call, callee)
        self._call = {"call_id": call.id, "execution": "client"}

    def opening(self) -> list[Chunk]:
        return [self._event("added", "in_progress", {**self._call, "arguments": {}})]

    def grown(self, delta: Delta, logprobs: list[bytes]) -> list[Chunk]:
        del logprobs
        self._pieces.append(delta.call.arguments if delta.call else "")
        return []

    def closing(self, is_whole: bool) -> list[Chunk]:
        arguments = arguments_object("".join(self._pieces))
        status = "completed" if is_whole else "incomplete"
        return [self._event("done", status, {**self._call, "arguments": arguments})]


_CALLS: dict[str, type[_Call]] = {
    "function": FunctionCall,
    "custom": CustomToolCall,
    "tool_search": ToolSearchCall,
}


def item_of(delta: Delta, index: int, tools: OfferedTools) -> OutputItem:
    """The item that begins with a delta; an empty one begins a message."""
    if delta.call is not None:
        callee = tools.callee(delta.call.name)
        return _CALLS[callee.kind](index, delta.call, callee)
    return Thoughts(index) if delta.reasoning else Message(index)
