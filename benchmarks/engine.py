"""What the model computes without a server around it: prefill, and decode at several batch sizes.

    python -m benchmarks.engine MODEL [--dtype auto] [--threads 2]

Any checkpoint of the wanted shape will do; `rwkv-server init --layers 12 --dim 768 --vocab-size
65536 --dtype bfloat16 FILE` makes one of RWKV-7 0.1B. The last line is one JSON object.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import choose_dtype, load_weights
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.workers.cores import usable_cores

PREFILL = 256
BATCHES = (1, 4, 16)
SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=usable_cores())
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(arguments.model)
    config = read_config(checkpoint)
    dtype = choose_dtype(arguments.dtype, config)
    team = Team(arguments.threads)
    weights = load_weights(checkpoint, config, dtype, team, None, lambda *_: None)
    model = Model(config, weights, team, PREFILL, max(BATCHES))
    model.compile()
    state = StatePool(config, max(BATCHES)).state
    prompt = pack_batch([([1] * PREFILL, 0, True)])
    rates = {f"prefill_{PREFILL}": PREFILL / _seconds(lambda: model.forward(prompt, state))}
    for size in BATCHES:
        batch = pack_batch([([1], slot, True) for slot in range(size)])
        rates[f"decode_{size}"] = size / _seconds(lambda b=batch: model.forward(b, state))
    result = {"benchmark": "engine", "dtype": dtype, "threads": arguments.threads}
    result |= {f"{name}_tokens_per_s": round(rate, 1) for name, rate in rates.items()}
    result |= {
        f"{name}_to_decode_1": round(rate / rates["decode_1"], 2)
        for name, rate in rates.items()
        if name != "decode_1"
    }
    print(json.dumps(result))


def _seconds(step: Callable[[], object]) -> float:
    """Median time of one call, over about two seconds."""
    step()
    times: list[float] = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or len(times) < 3:
        started = time.monotonic()
        step()
        times.append(time.monotonic() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
