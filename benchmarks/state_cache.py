"""What the state cache saves: one JSON line with ratios of one run.

    python -m benchmarks.state_cache [--shape 0.1b] [--dtype int8]

The engine without HTTP, random weights of a published shape, random token ids. Times are from the
arrival of a request to its first token, in milliseconds; medians of --rounds, of which each has an
empty cache and other ids.
"""

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from server.bench.random_weights import VOCABULARY, random_weights
from server.engine.engine import Engine
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import Scheduler
from server.engine.state_cache import StateCache
from server.engine.task import Task
from server.kernels.team import Team
from server.model.initial_state import empty_state
from server.model.initialize import SHAPES
from server.model.model import Model
from server.sampling.params import SamplingParams
from server.sampling.sampler import Sampler
from server.snapshots.encoding import SnapshotCodec
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from server.workers.cores import usable_cores

HISTORY, DOCUMENT, SHARED, NEW, QUESTION = 20_000, 10_000, 2_000, 60, 40
AT_ONCE, STEP_TOKENS, ROOM, PAIRS = 16, 256, 4 << 30, 6


class Bench:
    """An engine for each measurement around one model; it counts the tokens that are computed."""

    def __init__(self, shape: str, dtype: str) -> None:
        self.config, weights = random_weights(shape, "rwkv7", dtype)
        self.team = Team(usable_cores())
        self.model = Model(self.config, weights, self.team, STEP_TOKENS, AT_ONCE)
        self.sampler = Sampler(VOCABULARY, self.team)
        self.tokenizer = WorldTokenizer(load_world_vocabulary())
        self.rng = np.random.default_rng(0)
        self.computed = 0
        forward = self.model.forward

        def counted(batch: Any, state: Any) -> Any:
            self.computed += len(batch.tokens)
            return forward(batch, state)

        self.model.forward = counted  # type: ignore[method-assign]

    def engine(self, room: int = ROOM, step_seconds: float = 0.005) -> Engine:
        """A fresh one with its cache."""
        prefixes = PrefixCache(StateCache(room) if room else None)
        states = {"": empty_state(self.config)}
        runner = ModelRunner(self.model, self.sampler, states, prefixes)
        scheduler = Scheduler(AT_ONCE, STEP_TOKENS, prefixes, step_seconds)
        codec = SnapshotCodec("", self.config.state_shapes, VOCABULARY)
        return Engine(scheduler, runner, OutputProcessor(self.tokenizer), prefixes, codec)

    def ids(self, count: int) -> list[int]:
        """Random token ids."""
        return [int(t) for t in self.rng.integers(1, VOCABULARY - 100, count)]

    def first_token(self, engine: Engine, *prompts: list[int]) -> float:
        """Milliseconds until each prompt has its first and only token."""
        started = time.perf_counter()
        for number, prompt in enumerate(prompts):
            params = SamplingParams(max_tokens=1, seed=number, ignore_eos=True)
            engine.add(str(number), Task(prompt, params))
        while engine.has_work:
            engine.step()
        return 1000 * (time.perf_counter() - started)


def measure(bench: Bench) -> dict[str, float]:
    """One round of all."""
    found: dict[str, float] = {}
    engine, new = bench.engine(), bench.ids(NEW)
    found["turn_1_ms"] = bench.first_token(engine, new)
    history = bench.ids(HISTORY)
    bench.first_token(engine, history)
    found["turn_50_ms"] = bench.first_token(engine, history + bench.ids(NEW))

    engine, document = bench.engine(), bench.ids(DOCUMENT)
    for name in ("first", "second", "third"):
        question = document + bench.ids(QUESTION)
        found[f"question_{name}_ms"] = bench.first_token(engine, question)
    found["again_ms"] = bench.first_token(engine, question)

    prefix = bench.ids(SHARED)
    prompts = [prefix + bench.ids(QUESTION) for _ in range(AT_ONCE)]
    before = bench.computed
    found["at_once_ms"] = bench.first_token(bench.engine(), *prompts)
    found["at_once_tokens"] = bench.computed - before

    return found | _cold(bench) | _restore(bench)


def _cold(bench: Bench) -> dict[str, float]:
    """A prompt that nobody has sent, with a cache and without, in turn."""
    times: dict[int, list[float]] = {ROOM: [], 0: []}
    for number in range(PAIRS):
        prompt = bench.ids(SHARED)
        for room in (ROOM, 0) if number % 2 else (0, ROOM):
            times[room].append(bench.first_token(bench.engine(room), prompt))
    ratios = [a / b for a, b in zip(times[ROOM], times[0], strict=True)]
    return {
        "cold_ms": statistics.median(times[ROOM]),
        "cold_to_without_cache": statistics.median(ratios),
    }


def _restore(bench: Bench) -> dict[str, float]:
    """Copying a state into a slot, and out of one."""
    engine = bench.engine()
    pool = engine._runner._states  # the only thing here that a client cannot reach
    snapshot = {name: array[0].copy() for name, array in pool.state._asdict().items()}
    started = time.perf_counter()
    pool.release(pool.acquire(snapshot))
    restored = 1000 * (time.perf_counter() - started)
    started = time.perf_counter()
    copies = [array[0].copy() for array in pool.state]
    taken = 1000 * (time.perf_counter() - started)
    assert copies
    return {"restore_ms": restored, "snapshot_ms": taken}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="0.1b")
    parser.add_argument("--dtype", default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    bench = Bench(arguments.shape, arguments.dtype)
    bench.first_token(bench.engine(), bench.ids(STEP_TOKENS + 3))  # compiles, warms up
    rounds = [measure(bench) for _ in range(arguments.rounds)]
    report = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    one = SHARED + QUESTION

    def ratio(name: str, other: str) -> float:
        return round(statistics.median(each[name] / each[other] for each in rounds), 4)

    print(
        json.dumps(
            {
                "benchmark": "state_cache",
                "shape": arguments.shape,
                "dtype": arguments.dtype,
                **{name: round(value, 3) for name, value in report.items()},
                "turn_50_to_turn_1": ratio("turn_50_ms", "turn_1_ms"),
                "second_question_to_first": ratio("question_second_ms", "question_first_ms"),
                "third_question_to_first": ratio("question_third_ms", "question_first_ms"),
                "again_to_first": ratio("again_ms", "question_first_ms"),
                "at_once_to_one_in_tokens": round(report["at_once_tokens"] / one, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
