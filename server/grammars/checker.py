"""Checks grammars before a worker sees them, in a process that may die of them."""

import asyncio
import json
import logging
import signal
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from server.bounded_child import BoundedChild, ChildEndedError
from server.grammars.errors import MAX_BYTES as MAX_BYTES
from server.grammars.errors import GrammarError

log = logging.getLogger(__name__)

CPU_SECONDS = 1.0
"""What it may spend on a grammar; then it ends by SIGPROF. Common ones take milliseconds."""

PATIENCE = 20.0
"""Seconds until an answer, on however busy a machine."""

_PROGRAM = "server.grammars.check"
_STARTS = 2
_OWN_DEATHS = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE}
"""How the compiler ends the process; other signals come from elsewhere."""
_MOST_WAITING = 32
_MOST_KEPT = 64


class CheckerBusyError(Exception):
    """More grammars wait to be checked than should, or there is no process that checks them: the
    machine is too busy, or it was killed."""


class GrammarChecker:
    """Owns the process, which is started by the first grammar. What it said of the last is kept."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, bool], tuple[str, str]] = OrderedDict()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._child = BoundedChild(_PROGRAM, b"", PATIENCE)

    async def check(self, grammar: str, may_be_gbnf: bool = False) -> str:
        """The grammar in one of llguidance's own forms.

        Raises GrammarError if the text is not a grammar, needs what is not supported, allows no
        output or is too complex; and CheckerBusyError.
        """
        if len(grammar) > MAX_BYTES or len(grammar.encode()) > MAX_BYTES:
            raise GrammarError(f"longer than {MAX_BYTES} bytes")
        key = grammar, may_be_gbnf
        if key not in self._answers:
            if self._waiting >= _MOST_WAITING:
                raise CheckerBusyError
            self._waiting += 1
            try:
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._thread, self._ask, *key)
            finally:
                self._waiting -= 1
            self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > _MOST_KEPT:
            self._answers.popitem(last=False)
        checked, error = self._answers[key]
        if error:
            raise GrammarError(error)
        return checked

    def _ask(self, grammar: str, may_be_gbnf: bool) -> tuple[str, str]:
        """What the process says. One that does not answer is ended. Raises CheckerBusyError."""
        self._start()
        try:
            answer = self._child.ask(json.dumps([grammar, may_be_gbnf]).encode())
        except ChildEndedError as error:
            if error.status == -signal.SIGPROF:
                return "", f"too complex: it takes more than {CPU_SECONDS:g} s to compile"
            if error.status is None or (error.status < 0 and error.status not in _OWN_DEATHS):
                raise CheckerBusyError from None  # not the grammar's doing, so not kept of it
            return "", "too complex: the compiler fails on it"
        checked, error_text = json.loads(answer)
        return checked, error_text

    def _start(self) -> None:
        """See that there is a process, which is tried again when it ends while it starts."""
        for _ in range(_STARTS):
            if self._child.is_running:
                return
            try:
                self._child.begin()
            except ChildEndedError as error:
                log.warning("grammar checker did not start: %s (status %s)", error, error.status)
        if not self._child.is_running:
            raise CheckerBusyError
