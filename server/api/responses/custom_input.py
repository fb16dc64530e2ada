"""The text of a custom tool's call, taken out of the JSON that the model writes."""

import json
import re
from typing import Any

from server.api.responses.tools import INPUT

_OPENING = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
_WHOLE = re.compile(
    r"""(?:
        [^"\\]
        | \\[^u]
        | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
        # the half of a pair waits for the other one
        | \\u[0-9a-fA-F]{4}(?=[^\\]|\\[^u]|\\u[0-9a-fA-F]{4})
    )*""",
    re.DOTALL | re.VERBOSE,
)
_MOST_OPENING = 256
"""Characters after which arguments that have not begun with the text are not waited for."""


class CustomInput:
    """Decodes {"input": "…"} as it comes.

    Arguments of any other form are decoded at their end, or shown as they are.
    """

    def __init__(self) -> None:
        self._said: list[str] = []
        self._held = ""
        self._place = "before"
        self._written: list[str] = []

    def push(self, text: str) -> str:
        """More of the arguments; returns what that adds to the input."""
        self._written.append(text)
        if self._place == "after":
            return ""
        self._held += text
        if self._place == "before" and not self._open():
            return ""
        return self._add(self._take())

    def end(self) -> str:
        """No more comes; returns what is still missing of the input."""
        if self._place != "before":
            return ""
        return self._add(_input_of("".join(self._written)))

    @property
    def text(self) -> str:
        """All of the input so far."""
        return "".join(self._said)

    def _open(self) -> bool:
        found = _OPENING.match(self._held)
        if found is not None:
            self._held = self._held[found.end() :]
            self._place = "within"
        elif len(self._held) > _MOST_OPENING:
            self._held = self._held[:_MOST_OPENING]
        return found is not None

    def _take(self) -> str:
        """What is whole of the held text: no half escape, nor half of a pair of them."""
        found = _WHOLE.match(self._held)
        assert found is not None
        end = found.end()
        if self._held.startswith('"', end):
            self._place = "after"
        raw, self._held = self._held[:end], self._held[end:]
        return _decoded(raw)

    def _add(self, text: str) -> str:
        if text:
            self._said.append(text)
        return text


def as_arguments(text: str) -> str:
    """The arguments of a call with this input, as models write them."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def _decoded(raw: str) -> str:
    try:
        value = json.loads(f'"{raw}"', strict=False)
    except ValueError:  # an escape that JSON does not have
        return raw
    return _whole_unicode(str(value))


def _input_of(arguments: str) -> str:
    try:
        value: Any = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return arguments
    text = value.get(INPUT) if isinstance(value, dict) else None
    return _whole_unicode(text) if isinstance(text, str) else arguments


def _whole_unicode(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
