"""`python -m server.pull`: what `rwkv-server pull` and models named `hf:…` run."""

import argparse
import logging
import sys
from pathlib import Path

from huggingface_hub.utils import logging as hub_logging

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import DEFAULT_REVISION, parse_model
from server.children import own_folder
from server.launch import INTERRUPTED
from server.progress import ProgressDisplay
from server.pull.errors import EXPECTED, explain
from server.pull.pull import find_pulled, pull
from server.temporary_files import interrupted_when_ended


def main(argv: list[str]) -> int:
    """Print where the model is. Returns the exit code.

    An error is a line on standard error, with --machine on standard output.
    """
    arguments = _parse(argv)
    if not arguments.machine:  # else it is the folder of the server, which lives on
        own_folder()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        model = parse_model(arguments.model)
        if arguments.only_pulled:
            path = find_pulled(model, arguments.revision)
            if path is None:
                raise CheckpointError(f"{model}: not on this machine")
        else:
            with interrupted_when_ended(), ProgressDisplay(quiet_seconds=0) as progress:
                path = pull(model, arguments.revision, arguments.local_dir, progress)
    except CheckpointError as error:
        return _fail(str(error), arguments.machine)
    except EXPECTED as error:
        text = str(CheckpointError(explain(error, model, arguments.revision)))
        return _fail(text, arguments.machine)
    except KeyboardInterrupt:
        print("interrupted; pull again to go on where it stopped", file=sys.stderr)
        return INTERRUPTED
    print(path)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rwkv-server pull")
    parser.add_argument("model")
    parser.add_argument("--revision", default=DEFAULT_REVISION)
    parser.add_argument("--local-dir", type=Path)
    parser.add_argument("--only-pulled", action="store_true")
    parser.add_argument("--machine", action="store_true")
    return parser.parse_args(argv)


def _fail(message: str, machine: bool) -> int:
    if machine:
        print(message)
    else:
        print(f"error: {message}", file=sys.stderr)
    return 2
