"""Models of real size: making one, packing it, and starting again, beside another checkout.

    python -m benchmarks.real_sizes --shape 1.5b --dtype int4 --checkout PATH [--rounds 2] [--init]

In each round both trees, each with its own code in a process of its own, pack the same random
checkpoint in bfloat16 (`pack`) and map it again (`warm`, with the fingerprint of the weights).
Medians and ratios of before to now, as one line of JSON. --init also times `init` of both.
It needs disk for three times the checkpoint, at most.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from server.fresh_model.writing import write_fresh_model
from server.machine.cores import usable_cores
from server.model.initialize import SHAPES, design

ROOT = Path(__file__).parents[1]
VOCABULARY = 65_536

CHILD = """
import json, sys, time
from pathlib import Path
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model import loading
from server.model.config import read_config
from server.model.fingerprint import state_fingerprint

def run(path, folder):
    checkpoint = open_checkpoint(Path(path))
    load = getattr(loading, "load", loading.load_weights)
    cache = loading.WeightsCache(Path(folder), 1 << 40)
    weights = load(checkpoint, read_config(checkpoint), dtype, team, cache, lambda *_: None)
    state_fingerprint(weights, {}, team.threads)

tiny, path, folder, dtype, threads = sys.argv[1:]
team = Team(int(threads))
run(tiny, folder + "-tiny")  # compiles
started = time.perf_counter(), time.process_time()
run(path, folder)
print(json.dumps([time.perf_counter() - started[0], time.process_time() - started[1]]))
"""

Times = dict[str, list[tuple[float, float]]]
"""What → (seconds, seconds of CPU) of each round."""


def main() -> None:
    """Measure, and print one line of JSON."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="rwkv-real-sizes-", dir=arguments.folder) as name:
        print(json.dumps(_measure(arguments, Path(name))))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--dtype", choices=("int4", "int8", "bfloat16"), default="int4")
    parser.add_argument("--checkout", type=Path, required=True, help="the tree to compare with")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--init", action="store_true", help="also time `init` of both")
    parser.add_argument("--folder", help="where temporary files go")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    trees = {"before": arguments.checkout.resolve(), "now": ROOT}
    tiny, model = folder / "tiny.safetensors", folder / "model.safetensors"
    _write(tiny, 1, 64)
    layers, dim = SHAPES[arguments.shape]
    times: Times = {}
    if arguments.init:
        for label, tree in trees.items():
            times[f"init_{label}"] = [_init(tree, folder / "init.safetensors", layers, dim)]
            (folder / "init.safetensors").unlink()
    seconds = _write(model, layers, dim)
    for number in range(arguments.rounds):
        for label, tree in list(trees.items())[:: 1 if number % 2 else -1]:
            cache = folder / f"cache-{label}"
            for what in ("pack", "warm"):
                found = _run(tree, CHILD, tiny, model, cache, arguments.dtype, usable_cores())
                times.setdefault(f"{what}_{label}", []).append(found)
            for path in cache.iterdir():
                path.unlink()
    result: dict[str, Any] = {
        "benchmark": "real_sizes",
        "shape": arguments.shape,
        "dtype": arguments.dtype,
        "threads": usable_cores(),
        "checkpoint_bytes": model.stat().st_size,
        "init_bfloat16_seconds": round(seconds, 1),
    }
    return result | _summary(times)


def _summary(times: Times) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, found in times.items():
        wall, cpu = zip(*found, strict=True)
        result[name] = {
            "seconds": round(statistics.median(wall), 2),
            "cpu_seconds": round(statistics.median(cpu), 2),
        }
    for what in ("init", "pack", "warm"):
        if f"{what}_before" in times:
            pairs = zip(times[f"{what}_before"], times[f"{what}_now"], strict=True)
            ratios = [[b / n for b, n in zip(*pair, strict=True)] for pair in pairs]
            wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
            result[f"{what}_ratio"] = {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
    return result


def _write(path: Path, layers: int, dim: int) -> float:
    started = time.perf_counter()
    config = design("rwkv7", layers, dim, VOCABULARY)
    write_fresh_model(path, config, 0, "bfloat16", usable_cores(), lambda *_: None)
    return time.perf_counter() - started


def _init(tree: Path, path: Path, layers: int, dim: int) -> tuple[float, float]:
    sizes = ["--layers", layers, "--dim", dim, "--vocab-size", VOCABULARY]
    command = [sys.executable, "-m", "server", "init", *sizes, "--dtype", "bfloat16", path]
    started, before = time.perf_counter(), os.times()
    subprocess.run(list(map(str, command)), cwd=tree, check=True, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - started, cpu


def _run(tree: Path, script: str, *arguments: object) -> tuple[float, float]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    seconds, cpu = json.loads(done.stdout)
    return seconds, cpu


if __name__ == "__main__":
    main()
