"""What a deep embedding and other head sizes cost: tokens/s beside plain RWKV-7 with heads of 64.

    python -m benchmarks.variants [--shape 0.1b] [--dtype int8] [--stored bfloat16] [--rounds 5]

Random weights of equal size, as from a checkpoint of a dtype, and random token ids; all models are
measured in turn in each round. The last line is one JSON object: model → kind of step → tokens/s
relative to RWKV-7's, the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from server.bench.random_weights import VOCABULARY, random_weights
from server.kernels.jit import TIER
from server.kernels.team import Team
from server.machine.cores import usable_cores
from server.model.arrays import Batch, State
from server.model.initialize import SHAPES
from server.model.model import Model, pack_batch
from server.model.state import StatePool

PLAIN = "rwkv7"
MODELS = {
    PLAIN: (PLAIN, 64),
    "rwkv7a": ("rwkv7a", 64),
    "heads of 128": (PLAIN, 128),
    "heads of 32": (PLAIN, 32),
}
STEPS = {"decode 1": (1, 1), "decode 16": (16, 1), "prefill 256": (1, 256)}
"""Kind → (sequences, tokens of each)."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="0.1b")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "int8", "int4"), default="int8")
    parser.add_argument("--stored", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="Of each measurement.")
    arguments = parser.parse_args()
    team = Team(usable_cores())
    models = {}
    for name, (generation, head_size) in MODELS.items():
        config, weights = random_weights(
            arguments.shape, generation, arguments.dtype, head_size, arguments.stored
        )
        model = Model(config, weights, team, 256, 16)
        model.compile()
        models[name] = model, StatePool(config, 16).state
    ratios: dict[str, dict[str, list[float]]] = {name: {} for name in MODELS}
    random = np.random.default_rng(0)
    for _ in range(arguments.rounds):
        for kind, (sequences, tokens) in STEPS.items():
            batches = [_batch(random, sequences, tokens) for _ in range(64)]
            speeds = {n: _speed(*m, batches, arguments.seconds) for n, m in models.items()}
            for name, speed in speeds.items():
                ratios[name].setdefault(kind, []).append(speed / speeds[PLAIN])
    result: dict[str, Any] = {"benchmark": "variants", "shape": arguments.shape}
    result |= {
        "dtype": arguments.dtype,
        "stored": arguments.stored,
        "threads": team.threads,
        "tier": TIER,
    }
    for name, kinds in ratios.items():
        if name != PLAIN:
            result[name] = {kind: round(statistics.median(r), 3) for kind, r in kinds.items()}
    print(json.dumps(result))


def _batch(random: np.random.Generator, sequences: int, tokens: int) -> Batch:
    ids = random.integers(0, VOCABULARY, (sequences, tokens)).tolist()
    return pack_batch([(row, slot, True) for slot, row in enumerate(ids)])


def _speed(model: Model, state: State, batches: list[Batch], seconds: float) -> float:
    """Steps per second."""
    model.forward(batches[0], state)
    steps, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or steps < 3:
        model.forward(batches[steps % len(batches)], state)
        steps += 1
    return steps / passed


if __name__ == "__main__":
    main()
