"""`python -m server.convert`: what `rwkv-server convert` runs, in a process that may load Numba."""

import argparse
import sys
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.children import own_folder
from server.convert.convert import Request, convert
from server.convert.destination import FORMATS, PROGRAMS
from server.convert.precision import AS_STORED
from server.launch import INTERRUPTED
from server.machine.cores import usable_cores
from server.progress import ProgressDisplay
from server.temporary_files import interrupted_when_ended
from server.tokenizer.base import TokenizerError


def main(argv: list[str]) -> int:
    """Convert, and say on standard error what was done. Returns the exit code."""
    own_folder()
    arguments = _parse(argv)
    request = Request(
        source=arguments.source,
        destination=arguments.destination,
        dtype=arguments.dtype,
        format=arguments.format,
        adapters=arguments.adapter,
        tokenizer=arguments.tokenizer,
        force=arguments.force,
        program=arguments.program,
    )
    try:
        with interrupted_when_ended(), ProgressDisplay() as show:
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


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rwkv-server convert")
    parser.add_argument("source")
    parser.add_argument("destination", type=Path)
    parser.add_argument("--dtype", default=AS_STORED)
    parser.add_argument("--format", choices=FORMATS, default="")
    parser.add_argument("--for", choices=PROGRAMS, default="", dest="program")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--tokenizer", default="")
    parser.add_argument("--force", action="store_true")
    return parser.parse_args(argv)
