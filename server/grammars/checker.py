"""Checks grammars before a worker sees them, in a process that may die of them."""

import asyncio
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from server.grammars.forms import GrammarError

READY = b"ready\n"
"""What the process says first."""

CPU_SECONDS = 1.0
"""What it may spend on a grammar; then it ends by SIGPROF. Common ones take milliseconds."""

MAX_BYTES = 128 << 10
"""Of a grammar or schema as text."""

_PATIENCE = 20.0  # seconds until an answer, on however busy a machine
_MOST_WAITING = 32
_MOST_KEPT = 64


class CheckerBusyError(Exception):
    """More grammars wait to be checked than should, or the machine is too busy to check one."""


class GrammarChecker:
    """Owns the process, which is started by the first grammar. What it said of the last is kept."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, bool], tuple[str, str]] = OrderedDict()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None

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
        """What the process says. One that does not answer is ended."""
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([grammar, may_be_gbnf]).encode() + b"\n")
            process.stdin.flush()
            checked, error = json.loads(_read_line(process))
        except (OSError, ValueError):
            self._end()
            if process.returncode == -signal.SIGKILL:  # not the grammar's doing, so not kept of it
                raise CheckerBusyError from None
            if process.returncode == -signal.SIGPROF:
                return "", f"too complex: it takes more than {CPU_SECONDS:g} s to compile"
            return "", "too complex: the compiler fails on it"
        return checked, error

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.grammars.check"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if not _is_setting(name)},
            )
            self._end = weakref.finalize(self, _end, self._process)
            if _read_line(self._process) != READY:
                self._end()
                raise RuntimeError("the process that checks grammars does not start")
        return self._process


def _is_setting(name: str) -> bool:
    """Keys are among the settings, and this process has no use for any."""
    return name.startswith("RWKV_SERVER_")


def _read_line(process: "subprocess.Popen[bytes]") -> bytes:
    """What it says next; nothing if it has ended, or says nothing for too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(_PATIENCE) else b""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Whatever it does: nobody waits for it."""
    process.kill()
    with contextlib.suppress(OSError):
        process.communicate()
