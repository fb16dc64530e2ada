"""Chat messages to the text that a model was trained on, by a Jinja template in a sandbox."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, NoReturn, Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.tokenizer.base import TokenizerError

MAX_SOURCE = 1 << 20
MAX_OUTPUT = 64 << 20
"""Characters of a template, and of what it renders to."""

RWKV_STOP = ("\n\nUser:", "\n\nSystem:")

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


class Renderer(Protocol):
    """What makes text of messages."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """As ChatTemplate.render does."""


class ChatTemplate:
    """Renders messages as a prompt; `stop` are the strings that begin somebody else's turn."""

    def __init__(self, source: str | None = None, bos_token: str = "", eos_token: str = "") -> None:
        """Compile a template that came with a model; None is the format of World and G1.

        Raises TokenizerError with one line.
        """
        built_in = source is None
        if source is None:
            source = _read("rwkv.jinja")
        if len(source) > MAX_SOURCE:
            raise TokenizerError(f"chat template: longer than {MAX_SOURCE} characters")
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TokenizerError(f"chat template, line {error.lineno}: {error.message}") from None
        except (RecursionError, ValueError, SyntaxError, MemoryError, OverflowError) as error:
            raise TokenizerError(f"chat template: {type(error).__name__}: {error}") from None
        self.source = _for_others(source) if built_in else source
        """What renders the same without this server's filters."""
        self.bos_token = bos_token
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        # A model's own template may well speak in the same turns.
        self.stop: tuple[str, ...] = RWKV_STOP if built_in or "User:" in source else ()

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """The prompt of messages (role, content as a string or None), ready for the answer.

        Raises TokenizerError with one line, also when the template itself refuses the messages.
        """
        parts: list[str] = []
        room = MAX_OUTPUT
        try:
            for part in self._template.generate(
                messages=list(messages),
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
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


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own escapes for HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=False, indent=min(indent, 8) if indent else None)
