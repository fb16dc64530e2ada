"""What decoding feels of a long prompt beside it: one JSON line with ratios of one run.

    python -m benchmarks.latency [--streams 4] [--step-seconds 0.005]

The engine without HTTP, random weights of a published shape, random token ids. Some streams decode;
then a prompt of 4,000 tokens comes; then the same prompt is read alone. Inter-token times are
milliseconds between tokens of one stream, its first ones left out. Every round does all three one
after the other; ratios are medians of those of the rounds. With --step-seconds 1000 prompts get all
of every step, as without a budget of time.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.state_cache import STEP_TOKENS, Bench
from server.engine.engine import Engine
from server.model.initialize import SHAPES
from server.protocol.task import Task
from server.sampling.params import SamplingParams

PROMPT, ALONE, FIRST = 4000, 150, 10


def measure(bench: Bench, streams: int, step_seconds: float) -> dict[str, float]:
    """One round; milliseconds, but for seconds where a name says so."""
    engine = bench.engine(0, step_seconds=step_seconds)
    for number in range(streams):
        params = SamplingParams(max_tokens=10**6, seed=number, ignore_eos=True)
        engine.add(str(number), Task(bench.ids(FIRST), params))
    _inter_token(engine, FIRST)
    alone = _inter_token(engine, ALONE)
    prompt = Task(bench.ids(PROMPT), SamplingParams(max_tokens=1, seed=0, ignore_eos=True))
    engine.add("prompt", prompt)
    started = time.perf_counter()
    beside = _inter_token(engine, PROMPT)
    seconds_beside = time.perf_counter() - started
    seconds_alone = (
        bench.first_token(bench.engine(0, step_seconds=step_seconds), prompt.prompt_ids) / 1000
    )
    found = {"prefill_alone_s": seconds_alone, "prefill_beside_s": seconds_beside}
    for percent in (50, 95):
        found[f"p{percent}_alone_ms"] = float(np.percentile(alone, percent))
        found[f"p{percent}_beside_ms"] = float(np.percentile(beside, percent))
    return found


def _inter_token(engine: Engine, tokens: int) -> list[float]:
    """Milliseconds between so many tokens of stream 0; fewer if the prompt is read before."""
    times = [time.perf_counter()]
    while len(times) <= tokens:
        names = {output.request_id for output in engine.step()}
        times.append(time.perf_counter())
        assert "0" in names  # every stream gets a token in every step
        if "prompt" in names:
            break
    return [1000 * (b - a) for a, b in itertools.pairwise(times)]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="0.1b")
    parser.add_argument("--dtype", default="int8")
    parser.add_argument("--streams", type=int, default=1, help="that decode, at most 15")
    parser.add_argument("--step-seconds", type=float, default=0.005)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.shape, arguments.dtype, Path(folder))
        bench.first_token(bench.engine(0), bench.ids(STEP_TOKENS + 3))  # compiles, warms up
        rounds = [
            measure(bench, arguments.streams, arguments.step_seconds)
            for _ in range(arguments.rounds)
        ]
    report: dict[str, object] = {"benchmark": "latency", **vars(arguments)}
    report |= {k: round(statistics.median(each[k] for each in rounds), 2) for k in rounds[0]}
    for name in ("p50_{}_ms", "p95_{}_ms", "prefill_{}_s"):
        beside, alone = name.format("beside"), name.format("alone")
        ratios = [each[beside] / each[alone] for each in rounds]
        report[name.split("_")[0] + "_ratio"] = round(statistics.median(ratios), 2)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
