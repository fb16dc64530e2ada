"""From what a request wants its output to be like to one grammar, checked."""

from server.api.errors import ApiError
from server.api.schemas.structured import (
    ChoiceOutput,
    JsonOutput,
    Output,
    RegexOutput,
    StructuredRequest,
)
from server.grammars.checker import CheckerBusyError, GrammarChecker
from server.grammars.forms import (
    GrammarError,
    after_space,
    choice_grammar,
    json_grammar,
    regex_grammar,
)


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
        text, may_be_gbnf = _grammar_text(output)
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


def _grammar_text(output: Output) -> tuple[str, bool]:
    """The text, and whether it may be GBNF."""
    if isinstance(output, JsonOutput):
        return json_grammar(output.schema), False
    if isinstance(output, RegexOutput):
        return regex_grammar(output.regex), False
    if isinstance(output, ChoiceOutput):
        return choice_grammar(output.choices), False
    if output.grammar.lstrip().startswith("{"):
        raise GrammarError("should be in Lark's syntax or GBNF")
    return output.grammar, True
