"""The chat template that came with a model, as the server sees it: it runs in a child process."""

import json
import logging
import pickle
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

from server.bounded_child import BoundedChild, ChildEndedError
from server.checkpoints.locate import ModelFiles
from server.tokenizer.base import TokenizerError
from server.tokenizer.chat_template import MAX_SOURCE, CallSyntax, ChatTemplate
from server.tokenizer.template_text import TemplateText

logger = logging.getLogger(__name__)

WALL_SECONDS = 20.0
"""Until an answer, on however busy a machine."""

MOST_FAILURES = 3
"""In a row; then it is not tried for so many seconds."""
REST_SECONDS = 60.0

_PROGRAM = "server.tokenizer.template_program"
_PROBE = (
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Bye"},
)


class TemplateFailedError(TokenizerError):
    """A template took too long or too much memory, whatever it was asked to render."""


class TemplateFacts(TypedDict):
    """What the source of a template tells of the model."""

    stop: Sequence[str]
    writes_thoughts: bool
    speaks_in_turns: bool
    call_syntax: CallSyntax | None
    variables: Sequence[str]
    """Those that it makes use of."""


class BoundedTemplate:
    """A ChatTemplate whose template may do what it likes, in a process of its own."""

    built_in = False
    begins_answers_alike = False

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        """Raises TokenizerError when it cannot be compiled, or fails at a short conversation."""
        if len(source) > MAX_SOURCE:
            raise TokenizerError(f"chat template: longer than {MAX_SOURCE} characters")
        self.source = source
        self.bos_token = bos_token
        self._child = BoundedChild(
            _PROGRAM, pickle.dumps((source, bos_token, eos_token)), WALL_SECONDS
        )
        self._failures = 0
        self._rests_until = 0.0
        facts = self._begun()
        self.stop = tuple(facts["stop"])
        """The strings that begin somebody else's turn."""
        self.writes_thoughts = facts["writes_thoughts"]
        """Whether it has tags of thoughts."""
        self.speaks_in_turns = facts["speaks_in_turns"]
        """Whether its turns are those of World and G1."""
        self.call_syntax = facts["call_syntax"]
        """How calls are written; None: in a way of its own."""
        self._variables = frozenset(facts["variables"])
        self.thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "chat-template")
        """Where requests wait for it: it may take long."""
        self._probe()

    def knows(self, variable: str) -> bool:
        """Whether the template makes use of a variable such as "tools"."""
        return variable in self._variables

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> TemplateText:
        """As ChatTemplate.render; also raises TemplateFailedError, and may take long."""
        if time.monotonic() < self._rests_until:
            raise TemplateFailedError(
                f"model's chat template: failed {MOST_FAILURES} times in a row and is not tried "
                f"for {REST_SECONDS:g} s; replace it and reload the model"
            )
        asked = list(messages), add_generation_prompt, dict(variables or {})
        try:
            answer = self._child.ask(pickle.dumps(asked))
        except ChildEndedError as error:
            self._failed()
            raise TemplateFailedError(f"model's chat template: {error}") from None
        self._failures = 0
        return _told(_checked(answer))

    def _begun(self) -> TemplateFacts:
        try:
            facts: TemplateFacts = json.loads(_checked(self._child.begin()))
        except ChildEndedError as error:
            raise TokenizerError(f"chat template: compiling it {error}") from None
        return facts

    def _probe(self) -> None:
        try:
            self.render(_PROBE)
        except TemplateFailedError:
            raise
        except TokenizerError as error:  # it may want other roles, or only tools
            logger.debug("refuses a short conversation: %s", error)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self._failures = 0
            self._rests_until = time.monotonic() + REST_SECONDS
            logger.error(
                "a model's chat template failed %d times in a row; chats are refused for %g s",
                MOST_FAILURES,
                REST_SECONDS,
            )


def template_of(files: ModelFiles) -> ChatTemplate | BoundedTemplate:
    """The template that came with a model, or the built-in one.

    Raises TokenizerError, which names the model's file or folder.
    """
    if files.chat_template is None:
        return ChatTemplate(None, files.bos_token, files.eos_token)
    try:
        return BoundedTemplate(files.chat_template, files.bos_token, files.eos_token)
    except TokenizerError as error:
        raise type(error)(f"{files.checkpoint}: {error}") from None


def _told(said: str) -> TemplateText:
    """A text and, on a line before it, which of it the template wrote: its process may lie."""
    try:
        line, text = said.split("\n", 1)
        written = tuple((int(start), int(end)) for start, end in json.loads(line))
    except (ValueError, TypeError, RecursionError):
        raise TemplateFailedError("model's chat template: its answer is damaged") from None
    edges = [edge for each in written for edge in each]
    if edges and (edges[0] < 0 or edges[-1] > len(text) or sorted(edges) != edges):
        raise TemplateFailedError("model's chat template: its answer is damaged")
    return TemplateText(text, written)


def _checked(answer: bytes) -> str:
    """What an answer says. Raises TokenizerError when that is an error."""
    kind, said = answer[:1], answer[1:].decode("utf-8", "surrogatepass")
    if kind == b"E":
        raise TokenizerError(said)
    return said
