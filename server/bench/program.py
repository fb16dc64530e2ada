"""`rwkv-server bench`: how fast this machine is, beside what it could be at best."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from server.bench.ceilings import Ceilings, Work, work_of
from server.bench.random_weights import random_weights, weights_bytes
from server.byte_sizes import shown_bytes
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import locate
from server.checkpoints.reader import open_checkpoint
from server.kernels.jit import TIER
from server.kernels.team import Team
from server.machine.cores import usable_cores
from server.machine.memory import available_bytes
from server.model.arrays import Batch
from server.model.config import ModelConfig, read_config
from server.model.initialize import SHAPES
from server.model.loading import choose_dtype, load_weights
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.model.tensors import FIELDS
from server.progress import ProgressDisplay

PREFILL = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DECODE = (1, 2, 4, 8, 16, 32)
SECONDS = 0.3


@dataclass
class Step:
    """One kind of step, and what was measured of it in each round."""

    kind: str
    tokens: int
    batch: Batch
    seconds: list[float] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)


def main(argv: list[str]) -> int:
    """Measure, and print a table or JSON. Returns the exit code."""
    arguments = _parse(argv)
    with ProgressDisplay() as show:
        try:
            result = _bench(arguments, show)
        except CheckpointError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if arguments.json:
        print(json.dumps(result))
    else:
        _print_table(result)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rwkv-server bench", description=__doc__)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--generation", choices=FIELDS, default="rwkv7")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _bench(arguments: argparse.Namespace, show: ProgressDisplay) -> dict[str, Any]:
    team = Team(arguments.threads or usable_cores())
    name, dtype, config, weights = _load(arguments, team, show)
    model = Model(config, weights, team, max(PREFILL), max(DECODE))
    show(f"preparing {dtype} kernels (compiled once for each CPU)", 0, 0)
    model.compile()
    work, ceilings = work_of(config, weights), Ceilings(weights, team)
    steps = list(_steps())
    bandwidths, mac_rates = _measure(model, work, ceilings, steps * arguments.rounds, show)
    result: dict[str, Any] = {
        "benchmark": "bench",
        "model": name,
        "dtype": dtype,
        "threads": team.threads,
        "tier": TIER,
        "weights_bytes": work.layer_bytes + work.head_bytes,
        "state_bytes": work.state_bytes,
        "macs_per_token": work.layer_macs,
        "read_gb_per_s": round(statistics.median(bandwidths) / 1e9, 1),
        "gmac_per_s": round(statistics.median(mac_rates) / 1e9, 1),
    }
    one = statistics.median(next(s for s in steps if s.kind == "decode").seconds)
    for step in steps:
        seconds = statistics.median(step.seconds)
        result[f"{step.kind}_{step.tokens}"] = {
            "tokens_per_s": round(step.tokens / seconds, 1),
            "of_ceiling": round(statistics.median(step.fractions), 3),
            "to_decode_1": round(step.tokens / seconds * one, 2),
        }
    return result


def _load(
    arguments: argparse.Namespace, team: Team, show: ProgressDisplay
) -> tuple[str, str, ModelConfig, Any]:
    if arguments.shape:
        dtype = "int8" if arguments.dtype == "auto" else arguments.dtype
        _check_memory(arguments.shape, arguments.generation, dtype)
        show(f"making random {dtype} weights", 0, 0)
        weights = random_weights(arguments.shape, arguments.generation, dtype)
        return f"{arguments.generation} {arguments.shape}", dtype, *weights
    files = locate(arguments.model)
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    if not config.writes_text:
        raise CheckpointError(
            f"{files.checkpoint}: {config.title}: bench measures language models; use --shape for "
            "random weights of one"
        )
    chosen = choose_dtype(arguments.dtype, config)
    return files.name, chosen, config, load_weights(checkpoint, config, chosen, team, None, show)


def _check_memory(shape: str, generation: str, dtype: str) -> None:
    """Raises CheckpointError, before anything is allocated, when the weights do not fit."""
    needed, available = weights_bytes(shape, generation, dtype), available_bytes()
    if needed > available:
        raise CheckpointError(
            f"--shape {shape}: {dtype} weights need {shown_bytes(needed)} of memory and "
            f"{shown_bytes(available)} are available; use --dtype int4 or a smaller shape"
        )


def _steps() -> Iterator[Step]:
    for tokens in PREFILL:
        yield Step("prefill", tokens, pack_batch([([1] * tokens, 0, True)]))
    for size in DECODE:
        yield Step("decode", size, pack_batch([([1], slot, True) for slot in range(size)]))


def _measure(
    model: Model, work: Work, ceilings: Ceilings, steps: list[Step], show: ProgressDisplay
) -> tuple[list[float], list[float]]:
    """Each single step right after both ceilings: on a shared machine they change by the second."""
    state = StatePool(model.config, max(DECODE)).state
    bandwidths: list[float] = []
    mac_rates: list[float] = []
    for done, step in enumerate(steps):
        show("measuring", done, len(steps), "steps")
        model.forward(step.batch, state)
        end = time.perf_counter() + SECONDS
        samples = 0
        while time.perf_counter() < end or samples < 3:
            bandwidths.append(ceilings.bandwidth())
            mac_rates.append(ceilings.mac_rate())
            started = time.perf_counter()
            model.forward(step.batch, state)
            seconds = time.perf_counter() - started
            rows = len(step.batch.slots)
            least = work.seconds(step.tokens, rows, bandwidths[-1], mac_rates[-1])
            step.seconds.append(seconds)
            step.fractions.append(least / seconds)
            samples += 1
    return bandwidths, mac_rates


def _print_table(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(title_justify="left", title=f"{result['model']}, {result['dtype']} weights")
    for column in ("", "tokens/s", "of the ceiling", "× decode 1"):
        table.add_column(column, justify="left" if not column else "right")
    for name, step in result.items():
        if not isinstance(step, dict):
            continue
        kind, _, size = name.partition("_")
        label = f"{kind}, {size} {'tokens' if kind == 'prefill' else 'sequences'}"
        speed, fraction = f"{step['tokens_per_s']:,.0f}", f"{step['of_ceiling']:.0%}"
        table.add_row(label, speed, fraction, f"{step['to_decode_1']:.2f}")
    console.print(table)
    console.print(
        f"{result['threads']} threads ({result['tier']}). Ceilings, measured in between: "
        f"reading the {result['weights_bytes'] / 1e6:,.0f} MB of weights at "
        f"{result['read_gb_per_s']} GB/s, {result['gmac_per_s']:,.0f} GMAC/s."
    )
