"""What the state cache saves: one JSON line with ratios of one run.

    python -m benchmarks.state_cache [--shape 0.1b] [--dtype int8]

The engine without HTTP, random weights of a published shape, random token ids. Times are from the
arrival of a request to its first token, in milliseconds; medians of --rounds, of which each has an
empty cache and other ids. The disk tier is in the folder for temporary files.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from server.bench.random_weights import VOCABULARY, random_weights
from server.config import CacheSettings
from server.engine.build_cache import build_cache
from server.engine.engine import Engine
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.grammar_rows import GrammarRows
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.scheduler import Scheduler
from server.kernels.team import Team
from server.machine.cores import usable_cores
from server.model.initial_state import empty_state
from server.model.initialize import SHAPES
from server.model.model import Model
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.sampling.sampler import Sampler
from server.state_cache.encoding import SnapshotCodec
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary

HISTORY, DOCUMENT, SHARED, NEW, QUESTION = 20_000, 10_000, 2_000, 60, 40
AT_ONCE, STEP_TOKENS, ROOM = 16, 256, 4 << 30
TURNS, IN_A_ROW = 4, 3
"""Cold prompts are measured so often, so many after another: write-behind begins after a second."""
HITS = 7
CLOSE_SECONDS = 60.0


class Bench:
    """An engine for each measurement around one model; it counts the tokens that are computed.

    Disk tiers are in `folder`.
    """

    def __init__(self, shape: str, dtype: str, folder: Path) -> None:
        self.config, weights = random_weights(shape, "rwkv7", dtype)
        self.team = Team(usable_cores())
        self.model = Model(self.config, weights, self.team, STEP_TOKENS, AT_ONCE)
        self.sampler = Sampler(VOCABULARY, self.team)
        self.tokenizer = WorldTokenizer(load_world_vocabulary())
        self.rng = np.random.default_rng(0)
        self.computed = 0
        self._folders = (folder / str(number) for number in count())
        forward = self.model.forward

        def counted(batch: Any, state: Any) -> Any:
            self.computed += len(batch.tokens)
            return forward(batch, state)

        self.model.forward = counted  # type: ignore[method-assign]

    def engine(
        self, room: int = ROOM, disk: Path | None = None, step_seconds: float = 0.005
    ) -> Engine:
        """A fresh one with its cache in memory, and on disk if a folder is given."""
        codec = SnapshotCodec("", self.config.state_shapes, VOCABULARY)
        settings = CacheSettings(directory=str(disk or ""), disk_bytes=ROOM if disk else 0)
        prefixes = build_cache(codec, settings, room)
        states = {"": empty_state(self.config)}
        grammars = GrammarRows(GrammarCompiler(self.tokenizer, VOCABULARY))
        rest = prefixes, self.tokenizer, grammars
        runner = ModelRunner(self.model, self.sampler, states, *rest)
        scheduler = Scheduler(AT_ONCE, STEP_TOKENS, prefixes, step_seconds)
        return Engine(scheduler, runner, OutputProcessor(self.tokenizer), prefixes, codec)

    def empty_folder(self) -> Path:
        """One for a disk tier that nobody has used."""
        return next(self._folders)

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

    return found | _cold(bench) | _hits(bench) | _restore(bench)


def _cold(bench: Bench) -> dict[str, float]:
    """Prompts that nobody has sent, with a cache, with its disk tier too, and without, in turn."""
    times: dict[str, list[float]] = {"memory": [], "disk": [], "none": []}
    for number in range(TURNS):
        prompts = [bench.ids(SHARED) for _ in range(IN_A_ROW)]
        for kind in sorted(times, reverse=bool(number % 2)):
            disk = bench.empty_folder() if kind == "disk" else None
            engine = bench.engine(0 if kind == "none" else ROOM, disk)
            times[kind].append(sum(bench.first_token(engine, prompt) for prompt in prompts))
            engine.close(CLOSE_SECONDS)  # what is still to be written must not disturb the next

    def ratio(kind: str) -> float:
        pairs = zip(times[kind], times["none"], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        "cold_ms": statistics.median(times["memory"]) / IN_A_ROW,
        "cold_to_without_cache": ratio("memory"),
        "cold_with_disk_to_without_cache": ratio("disk"),
    }


def _hits(bench: Bench) -> dict[str, float]:
    """Prompts that were answered before: by the same engine, and by one before a restart."""
    folder = bench.empty_folder()
    prompts = [bench.ids(SHARED) for _ in range(HITS)]
    engine = bench.engine(disk=folder)
    for prompt in prompts:
        bench.first_token(engine, prompt)
    memory = [bench.first_token(engine, prompt) for prompt in prompts]
    engine.close(CLOSE_SECONDS)
    engine, before = bench.engine(disk=folder), bench.computed
    disk = [bench.first_token(engine, prompt) for prompt in prompts]
    engine.close(CLOSE_SECONDS)
    assert bench.computed == before, "what was written was not found"
    return {"memory_hit_ms": statistics.median(memory), "disk_hit_ms": statistics.median(disk)}


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
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.shape, arguments.dtype, Path(folder))
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
