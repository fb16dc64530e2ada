"""A process that compiles what clients send: `python -m server.grammars.check`.

The compiler is native code, and clients' grammars can make it run for hours or overflow its stack.
So they are tried here first, where that ends nothing but this process. JSON comes in, [grammar,
whether it may be GBNF], and goes out, [the grammar in llguidance's form, what is wrong with it].
"""

import json
import sys
import threading

from llguidance import LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from server.bounded_child import answer_requests
from server.grammars.checker import CPU_SECONDS
from server.grammars.compiling import (
    check_matcher,
    compile_grammar,
    make_vocabulary,
    validate_grammar,
)
from server.grammars.endless import check_ends
from server.grammars.errors import GrammarError
from server.grammars.forms import is_gbnf, plain_gbnf
from server.tokenizer.bytes import ByteTokenizer

_MEMORY_BYTES = 2 << 30
_STACK_BYTES = 1 << 20  # less than any thread of a worker has


def main() -> int:
    """Check grammars until the input ends."""
    return answer_requests(_Answers(), _cpu_seconds, _MEMORY_BYTES)


class _Answers:
    """Nothing to the first request, which makes it ready."""

    def __init__(self) -> None:
        self._vocabulary: LLTokenizer | None = None

    def __call__(self, request: bytes) -> bytes:
        if self._vocabulary is None:
            self._vocabulary = make_vocabulary(ByteTokenizer(), ByteTokenizer.vocab_size)
            threading.stack_size(_STACK_BYTES)
            return b""
        answer: list[str] = []
        thread = threading.Thread(
            target=_check, args=(*json.loads(request), self._vocabulary, answer)
        )
        thread.start()
        thread.join()
        if not answer:
            raise RuntimeError("something unexpected was raised")
        return json.dumps(answer).encode()


def _cpu_seconds(request: bytes) -> float:
    """To become ready it may take as long as it is waited for."""
    return CPU_SECONDS if request else 0.0


def _check(grammar: str, may_be_gbnf: bool, vocabulary: LLTokenizer, answer: list[str]) -> None:
    error = ""
    try:
        if may_be_gbnf and is_gbnf(grammar):
            grammar = _from_gbnf(grammar)
        check_ends(grammar)
        validate_grammar(grammar)
        matcher = compile_grammar(grammar, vocabulary)
        allowed = matcher.compute_logit_bias()
        check_matcher(matcher)
        if not any(allowed):
            raise GrammarError("no output is possible")
    except GrammarError as failure:
        error = str(failure)
    answer += [grammar, error]


def _from_gbnf(grammar: str) -> str:
    try:
        return gbnf_to_lark(plain_gbnf(grammar))
    except RecursionError:
        raise GrammarError("nested too deeply") from None
    except Exception as error:  # the library raises plain Exception
        raise GrammarError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
