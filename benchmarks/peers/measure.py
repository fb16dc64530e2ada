"""One measurement of each engine: tokens/s of reading a prompt and of writing after it."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.programs import ProgramError, run

Rates = dict[str, float]
"""`prefill` and `decode` → tokens/s of one sequence."""

PREFILL, DECODE = 256, 64
REPETITIONS = 5

_RWKV_SCRIPT = Path(__file__).with_name("rwkv_package.py")


def measure_ours(checkpoint: Path, dtype: str, threads: int) -> Rates:
    """Run `rwkv-server bench`. Raises ProgramError when it fails, as the others do."""
    command = [sys.executable, "-m", "server", "bench", checkpoint, "--json", "--rounds", 1]
    result = last_json(run([*command, "--dtype", dtype, "--threads", threads]))
    return {
        "prefill": result[f"prefill_{PREFILL}"]["tokens_per_s"],
        "decode": result["decode_1"]["tokens_per_s"],
    }


def measure_llama(program: Path, gguf: Path, threads: int) -> Rates:
    """Run llama-bench, which warms up first, and take the median of its repetitions."""
    command = [program, "--model", gguf, "--threads", threads, "--output", "json"]
    command += ["-p", PREFILL, "-n", DECODE, "-r", REPETITIONS]
    tests = json.loads(run(command))
    return {
        "prefill" if test["n_prompt"] else "decode": statistics.median(test["samples_ts"])
        for test in tests
    }


def measure_rwkv(python: Path, checkpoint: Path, pth: Path, dtype: str, threads: int) -> Rates:
    """Run rwkv_package.py with a Python that has the `rwkv` package and PyTorch."""
    environment = {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "1", "RWKV_CUDA_ON": "0"}
    command = [python, _RWKV_SCRIPT, checkpoint, pth, "--dtype", dtype, "--threads", threads]
    command += ["--prefill", PREFILL, "--decode", DECODE]
    rates: Rates = last_json(run(command, environment | {"OMP_NUM_THREADS": str(threads)}))
    return rates


def last_json(output: str) -> Any:
    """What the last line of a program's output says. Raises ProgramError when it is no JSON."""
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise ProgramError(f"no JSON in the last line of: {output[-200:]!r}") from None
