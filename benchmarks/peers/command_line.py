"""What the commands of this folder have in common: options, and errors of one line."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.peers.model_files import ModelFiles
from benchmarks.peers.programs import ProgramError
from server.machine.cores import usable_cores
from server.model.initialize import SHAPES


def add_program(parser: argparse.ArgumentParser, option: str, required: bool = False) -> None:
    """Add an option that takes a program by path or name; anything else is argparse's error."""
    parser.add_argument(option, type=_program, required=required, metavar="PATH")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the threads and the rounds."""
    parser.add_argument("--shape", choices=SHAPES, default="0.1b", help="of RWKV-7 World")
    parser.add_argument("--threads", type=positive, default=usable_cores())
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument(
        "--attempts", type=positive, default=3, help="at what other processes disturb"
    )
    parser.add_argument(
        "--work", type=_folder, metavar="DIR", help="keep model files here, and use those it has"
    )
    parser.add_argument(
        "--mixed",
        action="store_true",
        help="let llama-quantize choose types: its Q4_0 has a head of Q6_K",
    )


@contextmanager
def model_files(arguments: argparse.Namespace) -> Iterator[ModelFiles]:
    """The files of the model that the options name; what goes wrong with them ends the command.

    That is one line on standard error and exit code 1. SIGTERM ends what was started, too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        try:
            yield ModelFiles(folder, arguments.shape, arguments.llama_quantize, not arguments.mixed)
        except (ProgramError, OSError, httpx.HTTPError) as error:
            sys.exit(f"error: {error}")


def _program(text: str) -> Path:
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: no such program")
    return Path(found).absolute()  # unresolved: the python of an environment is a link


def _folder(text: str) -> Path:
    folder = Path(text).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    return folder


def positive(text: str) -> int:
    """The type of an option that takes 1, 2, 3, …; anything else is argparse's error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: not a positive whole number")
    return int(text)
