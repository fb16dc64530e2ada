"""What a chat template may do: Jinja in a sandbox that tells what of its output it wrote itself."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.filters import do_join, do_replace, make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from server.tokenizer.base import TokenizerError
from server.tokenizer.template_text import TemplateText, formatted, joined, literal
from server.tokenizer.tool_messages import Arguments

MAX_OUTPUT = 64 << 20
"""Characters that a template renders to."""


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which also refuses the easiest ways to fill the memory.

    It bounds what a template can reach. Its time and memory are bounded by its process alone.
    Strings that stand in the source of its one template are TemplateText, and stay it in all that
    is done with them.
    """

    intercepted_binops = frozenset({"*", "**"})
    concat = staticmethod(joined)

    def __init__(self) -> None:
        """trim_blocks and lstrip_blocks as in transformers, which such templates are written for.

        Not optimized: constants that are folded would be plain strings.
        """
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            optimized=False,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.code_generator_class = _Generator
        self.literals: list[TemplateText] = []
        """What the compiled template refers to by number."""
        self.globals.update(raise_exception=_raise, strftime_now=_now)
        self.filters.update(tojson=_to_json, join=_join, replace=_replace)

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Raises TokenizerError for a power, or too large a product."""
        if operator == "**":
            raise TokenizerError("powers are not allowed")
        if not _is_small_product(left, right):
            raise TokenizerError("the product is too large")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's own replacement of str.format() and format_map(), with what it tells of text."""
        wrapper = super().wrap_str_format(value)
        text = getattr(value, "__self__", None)
        if wrapper is None or not isinstance(text, TemplateText):
            return wrapper
        formatter = SandboxedFormatter(self)
        if value.__name__ == "format_map":
            return lambda named: formatted(formatter, text, (), named)
        return lambda *values, **named: formatted(formatter, text, values, named)

    def joined_values(self, values: Iterable[Any]) -> str:
        """What `~` makes of values."""
        return joined(map(str, values))


class _Generator(CodeGenerator):
    """Compiles the strings of a template to references to TemplateText."""

    environment: TemplateEnvironment

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, str):
            self.write(self._reference(node.value))
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_TemplateData(node, frame)
        else:
            self.write(self._reference(node.data))

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
            return
        self.write("environment.joined_values((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self._reference("".join(group))

    def _reference(self, text: str) -> str:
        literals = self.environment.literals
        literals.append(literal(text))
        return f"environment.literals[{len(literals) - 1}]"


class _Generation(Extension):
    """`{% generation %}` around what the assistant says, a mark for training: renders as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        said = self.call_method("_said", lineno=line)
        return nodes.CallBlock(said, [], [], body, lineno=line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


def _is_small_product(left: Any, right: Any) -> bool:
    sizes = [len(x) if isinstance(x, str | list | tuple) else abs(x) for x in (left, right)]
    return bool(sizes[0] * sizes[1] <= MAX_OUTPUT)


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


@pass_eval_context
def _join(
    context: nodes.EvalContext, value: Iterable[Any], d: str = "", attribute: str | None = None
) -> str:
    """Jinja's filter, of which the result is a TemplateText."""
    if context.autoescape:
        return str(do_join(context, value, d, attribute))
    if attribute is not None:
        value = map(make_attrgetter(context.environment, attribute), value)
    return TemplateText(d, getattr(d, "written", ())).join(map(str, value))


@pass_eval_context
def _replace(
    context: nodes.EvalContext, s: str, old: str, new: str, count: int | None = None
) -> str:
    """Jinja's filter, of which the result is a TemplateText."""
    if context.autoescape:
        return str(do_replace(context, s, old, new, count))
    text = s if isinstance(s, TemplateText) else TemplateText(s)
    return text.replace(str(old), str(new), -1 if count is None else count)
