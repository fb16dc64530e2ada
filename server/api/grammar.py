"""From what a request wants its output to be like to one grammar, checked."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from server.api.errors import ApiError
from server.api.schemas.structured import (
    ChoiceOutput,
    JsonOutput,
    KbnfOutput,
    Output,
    RegexOutput,
    StructuredRequest,
)
from server.assistant.forced_calls import (
    ToolChoice,
    ToolSchemaError,
    answer_grammar,
    arguments_schema,
)
from server.assistant.form import AnswerForm
from server.grammars.checker import CheckerBusyError, GrammarChecker
from server.grammars.errors import GrammarError
from server.grammars.forms import (
    after_space,
    choice_grammar,
    json_grammar,
    regex_grammar,
)
from server.grammars.kbnf import kbnf_grammar


async def grammar_of(
    body: StructuredRequest, checker: GrammarChecker, may_begin_with_space: bool = False
) -> str:
    """A grammar for SamplingParams; empty if the output may be anything.

    With `may_begin_with_space` the output is what the request says, or that after a space. Raises
    ApiError that names the field.
    """
    if body.output is None:
        return ""
    param, output = body.output
    try:
        # Of a schema with tens of thousands of fields it takes a while.
        text, may_be_gbnf = await asyncio.to_thread(_grammar_text, output)
    except GrammarError as error:
        raise ApiError("invalid_value", f"{param}: {error}", param) from None
    grammar = await checked_grammar(text, param, checker, may_be_gbnf)
    return after_space(grammar) if may_begin_with_space else grammar


async def checked_grammar(
    text: str, param: str, checker: GrammarChecker, may_be_gbnf: bool = False
) -> str:
    """The grammar in its canonical form. Raises ApiError that names the field it is made of."""
    try:
        return await checker.check(text, may_be_gbnf)
    except GrammarError as error:
        raise ApiError("invalid_value", f"{param}: {error}", param) from None
    except CheckerBusyError:
        message = "Try again later: many grammars wait to be compiled"
        raise ApiError("queue_full", message, retry_after=1) from None


async def grammar_of_answer(
    form: AnswerForm,
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice,
    content: str,
    checker: GrammarChecker,
) -> str:
    """The grammar of an assistant's whole answer, with calls if there may or must be some.

    `content` is that of an answer without. Raises ApiError that names the tool at fault.
    """
    try:
        text = await asyncio.to_thread(answer_grammar, form, tools, choice, content)
    except ToolSchemaError as error:
        param = f"tools[{error.tool}].function.parameters"
        raise ApiError("invalid_value", f"{param}: {error}", param) from None
    if text == content:
        return content
    try:
        return await checked_grammar(text, "tools", checker)
    except ApiError as error:
        # Whether a schema is one of those that took too long would take long, too.
        if error.code == "invalid_value" and "too complex" not in error.detail:
            await _check_tools(tools, choice, checker)
        raise


async def _check_tools(
    tools: Sequence[Mapping[str, Any]], choice: ToolChoice, checker: GrammarChecker
) -> None:
    """Raise ApiError for the first tool whose schema alone is no grammar."""
    for number, tool in enumerate(tools):
        function = tool["function"]
        if not choice.names or function["name"] in choice.names:
            schema = await asyncio.to_thread(json_grammar, arguments_schema(function))
            await checked_grammar(schema, f"tools[{number}].function.parameters", checker)


def _grammar_text(output: Output) -> tuple[str, bool]:
    """The text, and whether it may be GBNF."""
    if isinstance(output, JsonOutput):
        return json_grammar(output.schema), False
    if isinstance(output, KbnfOutput):
        return kbnf_grammar(output.grammar), False
    if isinstance(output, RegexOutput):
        return regex_grammar(output.regex), False
    if isinstance(output, ChoiceOutput):
        return choice_grammar(output.choices), False
    if output.grammar.lstrip().startswith("{"):
        raise GrammarError("should be in Lark's syntax or GBNF")
    return output.grammar, True
