"""Chat messages to the text that a model was trained on, by a Jinja template in a sandbox."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal, NoReturn, Protocol

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.tokenizer.base import TokenizerError
from server.tokenizer.tool_messages import BEGIN_CALL, Arguments

MAX_SOURCE = 1 << 20
MAX_OUTPUT = 64 << 20
"""Characters of a template, and of what it renders to."""

RWKV_STOP = ("\n\nUser:", "\n\nSystem:")

CallSyntax = Literal["hermes", "mistral", "llama"]
"""How a model writes calls of tools: <tool_call>…</tool_call>, [TOOL_CALLS][…], or bare JSON."""

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


class Renderer(Protocol):
    """What makes text of messages."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """As ChatTemplate.render does."""


class ChatTemplate:
    """Renders messages as a prompt, and knows what its source tells of the model."""

    def __init__(self, source: str | None = None, bos_token: str = "", eos_token: str = "") -> None:
        """Compile a template that came with a model; None is the format of World and G1.

        Raises TokenizerError with one line.
        """
        self.built_in = source is None
        if source is None:
            source = _read("rwkv.jinja")
        if len(source) > MAX_SOURCE:
            raise TokenizerError(f"chat template: longer than {MAX_SOURCE} characters")
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            self._variables = meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateSyntaxError as error:
            raise TokenizerError(f"chat template, line {error.lineno}: {error.message}") from None
        except (RecursionError, ValueError, SyntaxError, MemoryError, OverflowError) as error:
            raise TokenizerError(f"chat template: {type(error).__name__}: {error}") from None
        self.source = _for_others(source) if self.built_in else source
        """What renders the same without this server's filters."""
        self.bos_token = bos_token
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        # A model's own template may well speak in the same turns.
        self.stop: tuple[str, ...] = RWKV_STOP if self.built_in or "User:" in source else ()
        """The strings that begin somebody else's turn."""
        self.writes_thoughts = not self.built_in and "think>" in source
        """Whether it has tags of thoughts; those of the built-in one are for G1 alone."""
        self.call_syntax = _call_syntax(source) if self.knows("tools") else "hermes"
        """How calls are written; None: in a way of its own."""

    def knows(self, variable: str) -> bool:
        """Whether the template makes use of a variable such as "tools"."""
        return variable in self._variables

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of messages (role, content as a string or None), ready for the answer.

        Templates that know no tools ignore calls in messages: RequestTemplate makes text of them.
        Raises TokenizerError with one line, also when the template itself refuses the messages.
        """
        parts: list[str] = []
        room = MAX_OUTPUT
        try:
            for part in self._template.generate(
                {
                    **(variables or {}),
                    "messages": list(messages),
                    "add_generation_prompt": add_generation_prompt,
                    **self._tokens,
                }
            ):
                room -= len(part)
                if room < 0:
                    raise TokenizerError(
                        f"chat template: renders more than {MAX_OUTPUT} characters"
                    )
                parts.append(part)
        except Exception as error:  # a template can raise anything that an expression can
            raise TokenizerError(f"chat template: {error or type(error).__name__}") from None
        return "".join(parts)


def _read(name: str) -> str:
    return files("server.tokenizer").joinpath(f"templates/{name}").read_text("utf-8")


def _for_others(source: str) -> str:
    """The built-in template with a macro, which is a hundred times slower, for its filter."""
    macro = _read("without_blank_lines.jinja").rstrip()
    return macro + source.replace("text | without_blank_lines", "without_blank_lines(text)")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which also refuses the easiest ways to fill the memory.

    It bounds what a template can reach. It cannot bound its time and memory for good: a template
    is trusted with those as much as the weights that it came with.
    """

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        if operator == "**":
            raise TokenizerError("powers are not allowed")
        if not _is_small_product(left, right):
            raise TokenizerError("the product is too large")
        return super().call_binop(context, operator, left, right)


def _is_small_product(left: Any, right: Any) -> bool:
    sizes = [len(x) if isinstance(x, str | list | tuple) else abs(x) for x in (left, right)]
    return bool(sizes[0] * sizes[1] <= MAX_OUTPUT)


def _environment() -> jinja2.Environment:
    # trim_blocks and lstrip_blocks as in transformers, which such templates are written for.
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.globals.update(raise_exception=_raise, strftime_now=_now)
    environment.filters.update(without_blank_lines=without_blank_lines, tojson=_to_json)
    return environment


def without_blank_lines(text: str) -> str:
    """Trimmed, and runs of blank lines collapsed to one newline: a blank line ends a turn."""
    return _BLANK_LINES.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n").strip())


def _raise(message: str) -> NoReturn:
    raise TokenizerError(str(message))


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern[:200])


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As in transformers; Jinja's own escapes for HTML, which a prompt is not."""
    if isinstance(value, Arguments) and indent is None:
        return value.as_json()
    indent = min(indent, 8) if indent else None
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _call_syntax(source: str) -> CallSyntax | None:
    if BEGIN_CALL in source and "<function=" not in source:
        return "hermes"
    if "[TOOL_CALLS]" in source and "[ARGS]" not in source:
        return "mistral"
    if "<|python_tag|>" in source or ('{"name":' in source and '"parameters":' in source):
        return "llama"
    return None
