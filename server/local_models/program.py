"""`python -m server.local_models`: what `rwkv-server models` runs, in a process of its own.

It imports Numba, for the name of this machine's kernels, and the Hub's library.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from server.byte_sizes import shown_bytes
from server.cache_root import cache_root
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import EMBEDDED
from server.local_models.caches import cached_items, prune
from server.local_models.found import (
    MAX_MODELS,
    LocalModel,
    models_in_folder,
    models_in_hub_cache,
    opened,
)
from server.local_models.tables import cache_table, local_table, published_table, to_json
from server.machine.memory import available_bytes


def main(argv: list[str]) -> int:
    """Print what there is, or prune the cache. Returns the exit code."""
    arguments = _parse(argv)
    root = arguments.cache_dir or cache_root()
    try:
        if arguments.prune:
            return _prune(root)
        models = list(itertools.islice(_models(arguments.folders), MAX_MODELS))
    except CheckpointError as error:
        return _fail(str(error))
    available, cached = available_bytes(), cached_items(root)
    if arguments.json:
        print(json.dumps(to_json(models, cached, available)))
        return 0
    console = Console(highlight=False)
    console.print(local_table(models, available), published_table(models, available), sep="\n")
    console.print(cache_table(cached))
    console.print(
        f"int8, int4: memory to expect; {shown_bytes(available)} are available on this machine"
    )
    return 0


def _models(folders: list[Path]) -> Iterator[LocalModel]:
    yield opened("", EMBEDDED / "model.safetensors")
    for folder in folders:
        yield from models_in_folder(folder)
    yield from models_in_hub_cache()


def _prune(root: Path) -> int:
    freed = 0
    try:
        for item in prune(cached_items(root)):
            freed += item.size
            print(f"removed {item.path} ({item.stale})", file=sys.stderr)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}")
    print(f"{shown_bytes(freed)} are free again")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rwkv-server models")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--prune", action="store_true")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
