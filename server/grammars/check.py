"""A process that compiles what clients send: `python -m server.grammars.check`.

The compiler is native code, and clients' grammars can make it run for hours or overflow its stack.
So they are tried here first, where that ends nothing but this process. A line of JSON in, [grammar,
whether it may be GBNF], a line out, [the grammar in llguidance's form, what is wrong with it].
"""

import contextlib
import json
import resource
import signal
import sys
import threading

from llguidance import LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from server.grammars.checker import CPU_SECONDS, READY
from server.grammars.compiling import (
    check_matcher,
    compile_grammar,
    make_vocabulary,
    validate_grammar,
)
from server.grammars.endless import check_ends
from server.grammars.forms import GrammarError, is_gbnf, plain_gbnf
from server.tokenizer.bytes import ByteTokenizer

_MEMORY_BYTES = 2 << 30
_STACK_BYTES = 1 << 20  # less than any thread of a worker has


def main() -> int:
    """Check lines until the input ends."""
    # The API process decides when to stop. All processes of a service get SIGTERM from systemd.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # where a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    vocabulary = make_vocabulary(ByteTokenizer(), ByteTokenizer.vocab_size)
    threading.stack_size(_STACK_BYTES)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    for line in sys.stdin:
        answer: list[str] = []
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        thread = threading.Thread(target=_check, args=(*json.loads(line), vocabulary, answer))
        thread.start()
        thread.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not answer:  # something unexpected was raised
            return 1
        print(json.dumps(answer), flush=True)
    return 0


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
