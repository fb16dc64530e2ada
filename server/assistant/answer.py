"""An assistant's answer as it grows: thoughts, content and calls, and what is new of them."""

import secrets
import string
from dataclasses import dataclass, field
from typing import Any

_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9  # what templates of Mistral insist on


@dataclass(frozen=True)
class CallDelta:
    """More of a call. The first one has id and name, the others have a part of the arguments."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Delta:
    """What was added: one of its fields."""

    content: str = ""
    reasoning: str = ""
    call: CallDelta | None = None


@dataclass
class Call:
    """A function that the assistant calls."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """JSON as the model wrote it, which need not be valid."""
        return "".join(self.pieces)


class Answer:
    """What was said so far: always what the deltas make together."""

    def __init__(self, must_call: bool = False) -> None:
        self.must_call = must_call
        """Whether there can be no content, only calls."""
        self.calls: list[Call] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []

    @property
    def content(self) -> str:
        """What is said to the user."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """The thoughts before it."""
        return "".join(self._reasoning)

    def add(self, delta: Delta) -> None:
        """Take in what comes next."""
        self._content.append(delta.content)
        self._reasoning.append(delta.reasoning)
        if (call := delta.call) is None:
            return
        if call.index == len(self.calls):
            self.calls.append(Call(call.id, call.name))
        self.calls[call.index].pieces.append(call.arguments)

    def as_message(self) -> dict[str, Any]:
        """As it comes back in the next turn, from clients that send no thoughts."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.calls
            ]
        return message


class AnswerWriter:
    """Writes an answer and the deltas that make it.

    If it `must_call`, there is no content: what is like it is the beginning of a call that was cut.
    Blanks before the first word are dropped, unless `keeps_blanks`, and so are those before and
    after a call; blanks that could still be such are held back if `has_calls`.
    """

    def __init__(
        self,
        keeps_blanks: bool = False,
        has_calls: bool = False,
        parallel_calls: bool = True,
        must_call: bool = False,
    ) -> None:
        self.answer = Answer(must_call)
        self._deltas: list[Delta] = []
        self._begun = keeps_blanks
        self._has_calls = has_calls
        self._parallel_calls = parallel_calls
        self._drops_call = False
        self._blanks: list[str] = []

    def say(self, text: str) -> None:
        """More content, unless all of the answer must be calls: then it is markup that was cut."""
        if not self._begun:
            text = text.lstrip()
        if not text or self.answer.must_call:
            return
        self._begun = True
        said = text.rstrip() if self._has_calls else text
        if said:
            self._add(Delta(content="".join((*self._blanks, said))))
            self._blanks.clear()
        self._blanks.append(text[len(said) :])

    def think(self, text: str) -> None:
        """More thoughts."""
        if text:
            self._add(Delta(reasoning=text))

    def begin_call(self, name: str) -> None:
        """A call, whose arguments follow."""
        self._blanks.clear()
        index = len(self.answer.calls)
        self._drops_call = index > 0 and not self._parallel_calls
        if not self._drops_call:
            self._add(Delta(call=CallDelta(index, _call_id(), name)))

    def add_arguments(self, text: str) -> None:
        """More of the arguments of the last call."""
        if text and not self._drops_call:
            self._add(Delta(call=CallDelta(len(self.answer.calls) - 1, arguments=text)))

    def end(self) -> None:
        """Nothing more will come."""
        blanks = "".join(self._blanks)
        if blanks and not self.answer.calls:
            self._add(Delta(content=blanks))

    def take(self) -> list[Delta]:
        """The deltas since the last time."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def _add(self, delta: Delta) -> None:
        self._deltas.append(delta)
        self.answer.add(delta)


def _call_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
