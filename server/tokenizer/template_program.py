"""A process that renders a chat template: `python -m server.tokenizer.template_program`.

A template that came with a model is somebody's code. Jinja's sandbox bounds what it reaches, and
this process its time and memory. The first request is the template, each other one what to render;
they come from the server, so they are pickles. Answers are not: a template may have made them.
"""

import json
import pickle
import sys
from typing import Any

from server.bounded_child import answer_requests
from server.tokenizer.base import TokenizerError
from server.tokenizer.bounded_template import TemplateFacts
from server.tokenizer.chat_template import ChatTemplate

CPU_SECONDS = 2.0
"""That a template may compute, and one more for each of so many bytes of messages."""
BYTES_A_SECOND = 4 << 20

MEMORY_BYTES = 448 << 20
"""Of the process, with the program itself, which has some 50 MB."""

_ROOM = 1 << 20  # characters that a template may write beside four times its messages

_RANGES = 1 << 16
"""Runs of characters that a template may write, and one more for each of so many bytes."""
BYTES_A_RANGE = 8


def main() -> int:
    """Render until the input ends."""
    return answer_requests(_Answers(), _cpu_seconds, MEMORY_BYTES)


class _Answers:
    """A letter and what it says: F facts as JSON, T a text, E what is wrong.

    Before a text there is a line, in JSON: which of its characters the template wrote.
    """

    def __init__(self) -> None:
        self._template: ChatTemplate | None = None

    def __call__(self, request: bytes) -> bytes:
        asked: Any = pickle.loads(request)
        try:
            if self._template is None:
                self._template = ChatTemplate(*asked)
                facts: TemplateFacts = {
                    "stop": self._template.stop,
                    "writes_thoughts": self._template.writes_thoughts,
                    "speaks_in_turns": self._template.speaks_in_turns,
                    "call_syntax": self._template.call_syntax,
                    "variables": sorted(self._template.variables),
                }
                return b"F" + json.dumps(facts).encode()
            messages, add_generation_prompt, variables = asked
            most = _ROOM + 4 * len(request)
            text = self._template.render(messages, add_generation_prompt, variables, most)
            if len(text.written) > _RANGES + len(request) // BYTES_A_RANGE:
                raise TokenizerError("chat template: mixes texts of its own and others too finely")
            return b"T" + json.dumps(text.written).encode() + b"\n" + text.encode()
        except TokenizerError as error:
            return b"E" + str(error).encode("utf-8", "surrogatepass")


def _cpu_seconds(request: bytes) -> float:
    return CPU_SECONDS + len(request) / BYTES_A_SECOND


if __name__ == "__main__":
    sys.exit(main())
