"""Our engine, llama.cpp and the `rwkv` package on the same random RWKV-7 model, in turn.

    python -m benchmarks.peers --llama-bench PATH [--llama-quantize PATH] [--rwkv-python PATH]
        [--shape 0.1b] [--threads 2] [--rounds 3] [--work DIR] [--mixed]

A peer whose path is not given is left out. The last line is one JSON object: tokens/s of one
sequence, the medians of the rounds; ratios of ours to theirs, the medians of those of each round;
and the cores that other processes used, which should be near 0.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import get_args

from benchmarks.peers.command_line import add_common_options, add_program, model_files
from benchmarks.peers.measure import (
    DECODE,
    PREFILL,
    Rates,
    measure_llama,
    measure_ours,
    measure_rwkv,
)
from benchmarks.peers.model_files import ModelFiles
from benchmarks.peers.rounds import measure_in_rounds, summary
from server.model.loading import WeightType

PAIRS = (
    ("ours int8", "llama.cpp Q8_0"),
    ("ours int4", "llama.cpp Q4_0"),
    ("ours bfloat16", "llama.cpp F16"),
    ("ours bfloat16", "llama.cpp BF16"),
    ("ours bfloat16", "rwkv bf16"),
    ("ours float32", "rwkv fp32"),
    ("ours bfloat16", "rwkv fp32"),
    ("ours int8", "rwkv fp32"),
)
"""Equal bits first, then what a user of each would run."""


def main() -> None:
    """Read the command line, measure, and print one line of JSON."""
    arguments = _parse()
    with model_files(arguments) as files:
        found = measure_in_rounds(
            _measurements(arguments, files), arguments.rounds, arguments.attempts
        )
    result = {
        "benchmark": "peers",
        "shape": arguments.shape,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "prefill_tokens": PREFILL,
        "decode_tokens": DECODE,
    }
    print(json.dumps(result | summary(found, PAIRS)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_program(parser, "--llama-bench")
    add_program(parser, "--llama-quantize")
    add_program(parser, "--rwkv-python")
    add_common_options(parser)
    arguments = parser.parse_args()
    if arguments.llama_quantize and not arguments.llama_bench:
        parser.error("--llama-quantize is of no use without --llama-bench")
    return arguments


def _measurements(
    arguments: argparse.Namespace, files: ModelFiles
) -> dict[str, Callable[[], Rates]]:
    """Name → measurement, with its files made; what is compared stands side by side."""
    threads, checkpoint = arguments.threads, files.checkpoint()
    llama_types = {"int8": ["Q8_0"], "int4": ["Q4_0"], "bfloat16": ["F16", "BF16"]}
    rwkv_types = {"bfloat16": "bf16", "float32": "fp32"}
    found: dict[str, Callable[[], Rates]] = {}
    for dtype in ("int8", "int4", "bfloat16", "float32"):
        if dtype in get_args(WeightType) and (dtype != "float32" or arguments.rwkv_python):
            found[f"ours {dtype}"] = partial(measure_ours, checkpoint, dtype, threads)
        for file_type in llama_types.get(dtype, []) if arguments.llama_bench else []:
            if arguments.llama_quantize or file_type in ("F16", "BF16"):
                gguf = files.gguf(file_type)
                name = f"llama.cpp {file_type}"
                found[name] = partial(measure_llama, arguments.llama_bench, gguf, threads)
        if arguments.rwkv_python and dtype in rwkv_types:
            kind, python = rwkv_types[dtype], arguments.rwkv_python
            pth = files.pth()
            found[f"rwkv {kind}"] = partial(measure_rwkv, python, checkpoint, pth, kind, threads)
    return found


if __name__ == "__main__":
    main()
