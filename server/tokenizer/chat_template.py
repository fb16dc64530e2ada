"""Chat messages to the text that a model was trained on, by a Jinja template in a sandbox."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Literal, Protocol

import jinja2
from jinja2 import meta

from server.tokenizer.base import TokenizerError
from server.tokenizer.template_environment import MAX_OUTPUT, TemplateEnvironment
from server.tokenizer.template_text import TemplateText, joined, literal
from server.tokenizer.tool_text import BEGIN_CALL, RESULT, TextForm

MAX_SOURCE = 1 << 20
"""Characters of a template."""

RWKV_STOP = ("\n\nUser:", "\n\nSystem:")

ROLES = frozenset(("developer", "system", "user", "assistant", "tool", "function"))
"""Which of them a message has is all that a request decides, so templates may make tokens of it."""

CallSyntax = Literal["g1", "hermes", "mistral", "llama"]
"""How a model writes calls of tools: a block of JSON as RWKV G1 does, <tool_call>…</tool_call>,
[TOOL_CALLS][…], or bare JSON."""

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


class Renderer(Protocol):
    """What makes text of messages."""

    @property
    def begins_answers_alike(self) -> bool:
        """Whether what it writes before an answer depends on the last message alone."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """As ChatTemplate.render does: a TemplateText where special tokens may stand in it."""


class ChatTemplate:
    """Renders messages as a prompt, and knows what its source tells of the model.

    It bounds neither time nor memory: a template that came with a model is a BoundedTemplate.
    """

    thread: ThreadPoolExecutor | None = None
    """Where it has to be rendered; None: anywhere."""

    def __init__(self, source: str | None = None, bos_token: str = "", eos_token: str = "") -> None:
        """Compile a template that came with a model; None is the format of World and G1.

        Raises TokenizerError with one line.
        """
        self.built_in = source is None
        self.begins_answers_alike = self.built_in
        if source is None:
            source = _read("rwkv.jinja")
        if len(source) > MAX_SOURCE:
            raise TokenizerError(f"chat template: longer than {MAX_SOURCE} characters")
        environment = TemplateEnvironment()
        environment.filters["without_blank_lines"] = without_blank_lines
        try:
            self._template = environment.from_string(source)
            self.variables = meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateSyntaxError as error:
            raise TokenizerError(f"chat template, line {error.lineno}: {error.message}") from None
        except (RecursionError, ValueError, SyntaxError, OverflowError) as error:
            raise TokenizerError(f"chat template: {type(error).__name__}: {error}") from None
        self.source = _for_others(source) if self.built_in else source
        """What renders the same without this server's filters."""
        self.bos_token = bos_token
        self._tokens = {"bos_token": literal(bos_token), "eos_token": literal(eos_token)}
        # A model's own template may well speak in the same turns.
        self.stop: tuple[str, ...] = RWKV_STOP if self.built_in or "User:" in source else ()
        """The strings that begin somebody else's turn."""
        self.writes_thoughts = not self.built_in and "<think" in source
        """Whether it has tags of thoughts; those of the built-in one are for G1 alone."""
        self.speaks_in_turns = self.built_in or ("User:" in source and "Assistant:" in source)
        """Whether its turns are those of World and G1."""
        self.call_syntax = _call_syntax(source) if self.knows("tools") else text_form(source)
        """How calls are written; None: in a way of its own."""

    def knows(self, variable: str) -> bool:
        """Whether the template makes use of a variable such as "tools"."""
        return variable in self.variables

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
        most_output: int = MAX_OUTPUT,
    ) -> TemplateText:
        """The prompt of messages (role, content as a string or None), ready for the answer.

        It knows which of its characters the template wrote, as opposed to the messages and
        variables; roles are words of this server's. Templates that know no tools ignore calls in
        messages: RequestTemplate makes text of them.
        Raises TokenizerError with one line, also when the template itself refuses the messages.
        """
        values = {
            **(variables or {}),
            # The built-in template has no tokens to put into them.
            "messages": list(messages if self.built_in else map(_tracked, messages)),
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        try:
            text = joined(self._parts(values, most_output))
        except MemoryError:
            raise
        except Exception as error:  # a template can raise anything that an expression can
            raise TokenizerError(f"chat template: {error or type(error).__name__}") from None
        if text.isascii():
            return text
        # A literal of the template can be half a surrogate pair: "?", as where texts are encoded.
        return TemplateText(text.encode("utf-8", "replace").decode(), text.written)

    def _parts(self, values: Mapping[str, Any], most_output: int) -> Iterator[str]:
        room = most_output
        for part in self._template.generate(values):
            room -= len(part)
            if room < 0:
                raise TokenizerError(f"renders more than {most_output} characters")
            yield part


def _tracked(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with texts that a template can put some of its own into."""
    tracked = {
        key: TemplateText(value) if isinstance(value, str) else value
        for key, value in message.items()
    }
    if message.get("role") in ROLES:
        tracked["role"] = literal(message["role"])
    return tracked


def _read(name: str) -> str:
    return files("server.tokenizer").joinpath(f"templates/{name}").read_text("utf-8")


def _for_others(source: str) -> str:
    """The built-in template with a macro, which is a hundred times slower, for its filter."""
    macro = _read("without_blank_lines.jinja").rstrip()
    return macro + source.replace("text | without_blank_lines", "without_blank_lines(text)")


def without_blank_lines(text: str) -> str:
    """Trimmed, and runs of blank lines collapsed to one newline: a blank line ends a turn."""
    return _BLANK_LINES.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n").strip())


def text_form(source: str) -> TextForm:
    """How tools, calls and results become text where a template has no place for tools."""
    return "hermes" if BEGIN_CALL in source else "g1"


def _call_syntax(source: str) -> CallSyntax | None:
    if RESULT in source:
        return "g1"
    if BEGIN_CALL in source and "<function=" not in source:
        return "hermes"
    if "[TOOL_CALLS]" in source and "[ARGS]" not in source:
        return "mistral"
    if "<|python_tag|>" in source or ('{"name":' in source and '"parameters":' in source):
        return "llama"
    return None
