"""`python -m server.convert`: what `rwkv-server convert` runs, in a process that may load Numba."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress

from server.checkpoints.checkpoint import CheckpointError
from server.convert.convert import Request, convert
from server.convert.destination import FORMATS
from server.convert.precision import AS_STORED
from server.launch import INTERRUPTED
from server.tokenizer.base import TokenizerError
from server.workers.cores import usable_cores


def main(argv: list[str]) -> int:
    """Convert, and say on standard error what was done. Returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)  # what is half written goes
    arguments = _parse(argv)
    request = Request(
        source=arguments.source,
        destination=arguments.destination.expanduser(),
        dtype=arguments.dtype,
        format=arguments.format,
        adapters=arguments.adapter,
        tokenizer=arguments.tokenizer,
        force=arguments.force,
    )
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total or None)

        try:
            lines = convert(request, usable_cores(), show)
        except (CheckpointError, TokenizerError) as error:
            lines = [f"error: {error}"]
        except OSError as error:
            where = error.filename or request.destination
            lines = [f"error: {where}: {error.strerror or error}"]
        except KeyboardInterrupt:
            print("interrupted; nothing was written", file=sys.stderr)
            return INTERRUPTED
    print(*lines, sep="\n", file=sys.stderr)
    return 2 if lines[0].startswith("error: ") else 0


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rwkv-server convert")
    parser.add_argument("source")
    parser.add_argument("destination", type=Path)
    parser.add_argument("--dtype", default=AS_STORED)
    parser.add_argument("--format", choices=FORMATS, default="")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--tokenizer", default="")
    parser.add_argument("--force", action="store_true")
    return parser.parse_args(argv)
