"""Starts a program whose imports take a while, so that Ctrl-C never shows a traceback of them."""

import os
import signal
from importlib import import_module
from types import FrameType

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended, as shells have it."""


def launch(module: str, *arguments: object) -> int:
    """Import a module and call its main(*arguments). Returns the exit code.

    While it is imported and after it has returned nothing is left to clean up, so that Ctrl-C ends
    the process at once. Where SIGINT is ignored, as by nohup, it stays so.
    """
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeds:
        signal.signal(signal.SIGINT, _leave)
    program = import_module(module)
    try:
        if heeds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(program.main(*arguments) or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if heeds:
            signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    os._exit(INTERRUPTED)
