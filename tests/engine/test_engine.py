import numpy as np
import pytest

from server.engine.engine import Engine
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.grammar_rows import GrammarRows
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import Scheduler
from server.model.initial_state import empty_state
from server.protocol.engine_report import EngineReport
from server.protocol.task import Task
from server.sampling.params import NEVER, SamplingParams
from server.sampling.sampler import Sampler
from server.state_cache.encoding import SnapshotCodec
from server.tokenizer.bytes import ByteTokenizer
from tests.model.random_models import load_model, random_tensors, write_model

MAX_BATCH = 4


def build(
    checkpoint,
    threads=1,
    step_tokens=16,
    max_batch=MAX_BATCH,
    cache=None,
    tiers=None,
    **options,
):
    model = load_model(checkpoint, threads=threads, max_tokens=32, max_rows=max_batch)
    prefixes = PrefixCache(cache, tiers)
    states = {"": empty_state(model.config)}
    tokenizer = ByteTokenizer()
    grammars = GrammarRows(GrammarCompiler(tokenizer, 256))
    sampler = Sampler(256, model.team)
    runner = ModelRunner(model, sampler, states, prefixes, tokenizer, grammars)
    processor = OutputProcessor(tokenizer)
    codec = SnapshotCodec("random", model.config.state_shapes, 256)
    scheduler = Scheduler(max_batch, step_tokens, prefixes)
    return Engine(scheduler, runner, processor, prefixes, codec, **options), runner


def params(i=0, **changes):
    common = {"max_tokens": 12, "ignore_eos": True, "temperature": 1.2, "top_p": 0.95}
    return SamplingParams(**{**common, "seed": 1000 + i, **changes})


PROMPTS = [[int(t) for t in np.random.default_rng(i).integers(1, 256, 5 + 7 * i)] for i in range(9)]
SAMPLERS = [
    {},
    {"mirostat": 2, "mirostat_tau": 3.0},
    {"dry_multiplier": 1.0, "dry_allowed_length": 1},
    {"temperature": 0},
    {"typical_p": 0.8},
    {"min_p": 0.05},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01},
    {"logit_bias": ((65, 5.0), (66, NEVER))},
    {"allowed_token_ids": tuple(range(60, 90)), "min_tokens": 4},
]
PARAMS = [params(i, frequency_penalty=0.3 * (i % 3), top_k=i * 4, **SAMPLERS[i]) for i in range(9)]


def run(engine, on_step=None):
    """Step until idle; returns name → (ids, text, finish reason)."""
    results = {}
    for step in range(500):
        if not engine.has_work:
            return results
        for output in engine.step():
            ids, text, _ = results.get(output.request_id, ([], "", None))
            results[output.request_id] = (
                ids + output.token_ids,
                text + output.text,
                output.finish_reason,
            )
        if on_step:
            on_step(step)
    raise AssertionError("the engine does not come to an end")


@pytest.fixture(scope="module")
def alone(checkpoint):
    """What each request gives when it has the engine for itself."""
    engine, _ = build(checkpoint)
    results = {}
    for i in range(9):
        engine.add(f"r{i}", Task(PROMPTS[i], PARAMS[i]))
        results |= run(engine)
    return results


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("step_tokens", [1, 5, 32])
def test_under_load_every_request_gives_the_bytes_it_gives_alone(
    checkpoint, alone, threads, step_tokens
):
    engine, runner = build(checkpoint, threads, step_tokens)
    engine.add("r0", Task(PROMPTS[0], PARAMS[0]))
    arrivals = iter(range(1, 9))

    def join(step):
        if step % 2 == 0 and (i := next(arrivals, None)) is not None:
            engine.add(f"r{i}", Task(PROMPTS[i], PARAMS[i]))

    assert run(engine, join) == alone
    assert runner.free_slots == MAX_BATCH


def test_seeds_matter_and_repeat(checkpoint):
    engine, _ = build(checkpoint)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        engine.add(name, Task(PROMPTS[0], params(seed=seed)))
    results = run(engine)
    assert results["a"] == results["b"]
    assert results["a"] != results["c"]


def test_abort_frees_at_every_stage(checkpoint, alone):
    engine, runner = build(checkpoint, step_tokens=4)
    for i in range(7):
        engine.add(f"r{i}", Task(PROMPTS[i], PARAMS[i]))
    engine.step()  # r0 … r3 have slots, the rest wait
    assert runner.free_slots < MAX_BATCH
    engine.abort("r6")  # waiting
    engine.abort("r2")  # prefilling
    for _ in range(8):
        engine.step()
    engine.abort("r0")  # decoding
    engine.abort("r0")  # twice
    engine.abort("nobody")
    results = run(engine)
    for name in ("r1", "r3", "r4", "r5"):
        assert results[name][1] == alone[name][1][-len(results[name][1]) :]
        assert results[name][2] == "length"
    assert not {"r2", "r6"} & results.keys()
    assert runner.free_slots == MAX_BATCH
    engine.add("again", Task(PROMPTS[0], PARAMS[0]))
    assert run(engine)["again"] == alone["r0"]


def test_finish_reasons_and_limits(checkpoint):
    engine, _ = build(checkpoint)
    engine.add("one", Task(PROMPTS[1], params(max_tokens=1)))
    engine.add("twenty", Task(PROMPTS[1], params(max_tokens=20)))
    results = run(engine)
    assert len(results["one"][0]) == 1
    assert len(results["twenty"][0]) == 20
    assert results["twenty"][0][:1] == results["one"][0]
    assert {reason for _, _, reason in results.values()} == {"length"}


def test_a_model_that_overflows_ends_the_request_and_spares_the_others(tmp_path):
    tensors = random_tensors(layers=2, dim=48, vocab_size=256, head_size=16)
    tensors["emb.weight"][65] = 3e38
    path = write_model(tmp_path / "overflow.safetensors", tensors)
    engine, runner = build(path)
    engine.add("bad", Task([65], params()))
    engine.add("good", Task([66], params()))
    results = run(engine)
    assert results["bad"][2] == "error"
    assert results["good"][2] == "length"
    assert runner.free_slots == MAX_BATCH


def test_requests_begin_with_the_state_that_they_name(checkpoint):
    _, runner = build(checkpoint)
    model = runner._model
    rng = np.random.default_rng(3)
    tuned = empty_state(model.config)
    tuned["wkv"] += rng.standard_normal(tuned["wkv"].shape, dtype=np.float32)

    def texts(*names):
        states = {"": empty_state(model.config), "tuned": tuned}
        prefixes = PrefixCache(None)
        tokenizer = ByteTokenizer()
        sampler = Sampler(256, model.team)
        grammars = GrammarRows(GrammarCompiler(tokenizer, 256))
        runner = ModelRunner(model, sampler, states, prefixes, tokenizer, grammars)
        scheduler = Scheduler(MAX_BATCH, 16, prefixes)
        codec = SnapshotCodec("", model.config.state_shapes, 256)
        processor = OutputProcessor(tokenizer)
        engine = Engine(scheduler, runner, processor, prefixes, codec)
        for number, name in enumerate(names):
            engine.add(str(number), Task([1, 2, 3], params(), name))
        found = {str(number): [] for number in range(len(names))}
        while engine.has_work:
            for output in engine.step():
                found[output.request_id] += output.token_ids
        return list(found.values())

    (plain,), (other,) = texts(""), texts("tuned")
    assert plain != other
    assert texts("", "tuned", "tuned", "") == [plain, other, other, plain]
    # A slot that another request has used begins anew.
    assert texts("tuned", "", "tuned", "", "tuned", "") == [other, plain] * 3


def test_the_first_output_says_how_long_a_request_has_waited_for_a_slot(checkpoint):
    now = [0.0]
    engine, _ = build(checkpoint, max_batch=1, clock=lambda: now[0])
    for name in ("a", "b"):
        engine.add(name, Task(PROMPTS[0], params(max_tokens=2)))
    outputs = []
    while engine.has_work:
        now[0] += 1
        outputs += engine.step()
    waited = [(output.request_id, output.queued_seconds) for output in outputs]
    assert waited == [("a", 1), ("a", 0), ("b", 3), ("b", 0)]


def test_the_report_counts_steps_rows_and_tokens(checkpoint):
    now = [0.0]

    def clock():
        now[0] += 0.5
        return now[0]

    engine, _ = build(checkpoint, clock=clock)
    for name in ("a", "b"):
        engine.add(name, Task(PROMPTS[0], params(max_tokens=3)))
    assert engine.report == EngineReport()
    engine.step()
    assert engine.report.running == 2
    while engine.has_work:
        engine.step()
    report = engine.report
    assert (report.rows, report.tokens) == (6, 2 * (len(PROMPTS[0]) + 2))
    assert (report.steps, report.seconds, report.running) == (3, 1.5, 0)
