"""How fast the `rwkv` package reads and writes. A script for a Python that has it, and PyTorch.

    RWKV_V7_ON=1 python rwkv_package.py MODEL.safetensors MODEL.pth --dtype fp32

The .pth is written when it is not there. The last line is one JSON object, tokens/s.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rwkv.model import RWKV
from safetensors.torch import load_file

WARM_UP = 3  # TorchScript compiles during the first runs


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("pth", type=Path)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=256, help="tokens")
    parser.add_argument("--decode", type=int, default=64, help="tokens")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.pth.exists():
        temporary = arguments.pth.with_name(f".{arguments.pth.name}.{os.getpid()}.tmp")
        torch.save(load_file(arguments.model), temporary)
        temporary.replace(arguments.pth)
    model = RWKV(model=str(arguments.pth.with_suffix("")), strategy=f"cpu {arguments.dtype}")
    prompt = [1 + i % 255 for i in range(arguments.prefill)]

    def prefill() -> None:
        model.forward(prompt, None)

    def decode(state: Any = None) -> None:
        for token in range(1, arguments.decode + 1):
            _, state = model.forward([token], state)

    rates = {
        "prefill": arguments.prefill / _seconds(prefill, arguments.repetitions),
        "decode": arguments.decode / _seconds(decode, arguments.repetitions),
    }
    print(json.dumps(rates))


def _seconds(step: Callable[[], None], repetitions: int) -> float:
    """Median time of one call."""
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    for _ in range(repetitions):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
