"""Embeddings of prompts: the twin's numbers, and the same bits however they are computed."""

import numpy as np
import pytest

from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.state_cache.state_cache import StateCache
from tests.engine.test_engine import MAX_BATCH, build, params
from tests.model.random_models import random_tensors, write_model
from tests.naive_models import twin

NOTHING = SamplingParams(max_tokens=0, seed=0)
PROMPTS = [
    [int(t) for t in np.random.default_rng(i).integers(1, 256, 1 + 13 * i)] for i in range(7)
]
POOLINGS = ("mean", "last")


def embedding(pooling, ids, **fields):
    return Task(ids, NOTHING, pooling=pooling, **fields)


def run(engine, **tasks):
    """Name → its outputs."""
    for name, task in tasks.items():
        engine.add(name, task)
    found = {name: [] for name in tasks}
    while engine.has_work:
        for output in engine.step():
            found[output.request_id].append(output)
    return found


def bits(outputs):
    """The embedding, of the only output."""
    (output,) = outputs
    assert (output.text, output.token_ids, output.finish_reason) == ("", [], "stop")
    return output.embedding


def embedded(engine, **tasks):
    return {name: bits(outputs) for name, outputs in run(engine, **tasks).items()}


def tasks_of(prompts):
    return {
        f"{pooling}{number}": embedding(pooling, ids)
        for number, ids in enumerate(prompts)
        for pooling in POOLINGS
    }


@pytest.fixture(scope="module")
def alone(checkpoint):
    """What each prompt gives when it has the engine for itself and is one chunk, or two."""
    engine, _ = build(checkpoint, step_tokens=32)
    found = {}
    for name, task in tasks_of(PROMPTS).items():
        found |= embedded(engine, **{name: task})
    return found


@pytest.mark.parametrize("generation", ["rwkv4", "rwkv5.2", "rwkv6", "rwkv7"])
def test_embeddings_are_those_of_the_twin(tmp_path, generation):
    sizes = {"layers": 2, "dim": 48, "vocab_size": 256, "head_size": 16}
    tensors = random_tensors(**sizes, generation=generation)
    engine, _ = build(write_model(tmp_path / "model.safetensors", tensors), threads=2)
    ids = PROMPTS[3]
    hidden = np.array(twin(tensors).hidden_states(ids))
    found = embedded(engine, mean=embedding("mean", ids), last=embedding("last", ids))
    for name, expected in (("mean", hidden.mean(0)), ("last", hidden[-1])):
        np.testing.assert_allclose(np.frombuffer(found[name], "<f8"), expected, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("step_tokens", [1, 5, 32])
def test_batched_and_chunked_they_have_the_bits_they_have_alone(
    checkpoint, alone, threads, step_tokens
):
    engine, runner = build(checkpoint, threads, step_tokens)
    engine.add("decoding", Task(PROMPTS[1], params(max_tokens=400)))
    for _ in range(20):
        engine.step()
    for name, task in tasks_of(PROMPTS).items():
        engine.add(name, task)
    found = {}
    while len(found) < len(alone):
        found |= {o.request_id: o.embedding for o in engine.step() if o.request_id in alone}
    assert found == alone
    engine.abort("decoding")
    assert runner.free_slots == MAX_BATCH
    assert not runner._pooler._sums


def test_other_requests_have_the_bits_they_have_alone(checkpoint):
    task = Task(PROMPTS[2], params(frequency_penalty=0.3))
    (expected,) = run(build(checkpoint)[0], x=task).values()
    found = run(build(checkpoint)[0], **tasks_of(PROMPTS), x=task)["x"]
    assert [o.token_ids for o in found] == [o.token_ids for o in expected]


def test_nothing_is_left_in_the_cache(checkpoint, alone):
    cache = StateCache(64 << 20)
    engine, _ = build(checkpoint, cache=cache)
    assert embedded(engine, **tasks_of(PROMPTS)) == alone
    assert not list(cache.entries())


@pytest.mark.parametrize("longer", [0, 3])
def test_a_cached_beginning_serves_the_last_and_never_the_mean(checkpoint, alone, longer):
    engine, _ = build(checkpoint, step_tokens=32, cache=StateCache(64 << 20))
    ids = PROMPTS[6]
    kept = ids[: len(ids) - longer]
    # Its boundary is where the longest beginning ends that leaves the last token to be computed.
    use = CacheUse(boundaries={len(ids) - 1: "message"} if not longer else {})
    run(engine, before=Task(kept, NOTHING, use=use))
    outputs = run(engine, mean=embedding("mean", ids), last=embedding("last", ids))
    assert bits(outputs["mean"]) == alone["mean6"]
    assert bits(outputs["last"]) == alone["last6"]
    assert outputs["mean"][0].cached_tokens == 0
    assert outputs["last"][0].cached_tokens == (len(kept) if longer else len(ids) - 1)


def test_the_whole_prompt_in_the_cache_is_of_no_use_to_the_last(checkpoint, alone):
    engine, _ = build(checkpoint, cache=StateCache(64 << 20))
    run(engine, before=Task(PROMPTS[6], NOTHING, use=CacheUse(implicit=True)))
    (output,) = run(engine, last=embedding("last", PROMPTS[6]))["last"]
    assert output.embedding == alone["last6"]
    assert output.cached_tokens < len(PROMPTS[6])


def test_one_that_waits_for_anothers_prefill_begins_with_its_snapshot(checkpoint, alone):
    engine, _ = build(checkpoint, step_tokens=16, cache=StateCache(64 << 20))
    ids = PROMPTS[6]
    engine.add("first", Task(ids, NOTHING))
    engine.step()
    engine.add("last", embedding("last", ids))
    outputs = [output for _ in range(20) if engine.has_work for output in engine.step()]
    assert [output.request_id for output in outputs] == ["first", "last"]
    output = outputs[1]
    assert output.embedding == alone["last6"]
    assert output.cached_tokens == len(ids) - 1


def test_after_a_named_state_only_the_tokens_of_the_prompt_count(checkpoint):
    engine, _ = build(checkpoint)
    (state,) = run(engine, x=Task(PROMPTS[4], NOTHING, keeps_state=True))["x"]
    start = {"base": state.state}
    both = PROMPTS[4] + PROMPTS[2]
    found = embedded(
        engine,
        last=embedding("last", PROMPTS[2], **start),
        whole=embedding("last", both),
        mean=embedding("mean", PROMPTS[2], **start),
        mean_of_all=embedding("mean", both),
        before=embedding("mean", PROMPTS[4]),
    )
    assert found["last"] == found["whole"]
    mean, of_all, before = (
        np.frombuffer(found[name], "<f8") for name in ("mean", "mean_of_all", "before")
    )
    sizes = len(PROMPTS[2]), len(PROMPTS[4])
    np.testing.assert_allclose(sizes[0] * mean + sizes[1] * before, sum(sizes) * of_all, rtol=1e-9)


def test_one_that_is_aborted_or_parked_leaves_nothing_wrong(checkpoint, alone):
    engine, runner = build(checkpoint, step_tokens=8, max_batch=1)
    engine.add("mean6", embedding("mean", PROMPTS[6]))
    engine.step()
    engine.sleep("mean6")
    assert embedded(engine, mean3=embedding("mean", PROMPTS[3]))["mean3"] == alone["mean3"]
    engine.add("gone", embedding("mean", PROMPTS[5]))
    engine.step()
    engine.abort("gone")
    engine.wake("mean6")
    found = []
    while engine.has_work:
        found += engine.step()
    assert bits(found) == alone["mean6"]
    assert not runner._pooler._sums


def test_a_model_that_overflows_is_an_error(tmp_path):
    tensors = random_tensors(layers=2, dim=48, vocab_size=256, head_size=16)
    tensors["emb.weight"][65] = 3e38
    engine, _ = build(write_model(tmp_path / "overflow.safetensors", tensors))
    found = run(engine, bad=embedding("mean", [66, 65, 66]), good=embedding("mean", [66, 67]))
    assert [o.finish_reason for o in found["bad"]] == ["error"]
    assert found["bad"][0].error == "the model computed no finite hidden states"
    assert [o.finish_reason for o in found["good"]] == ["stop"]
