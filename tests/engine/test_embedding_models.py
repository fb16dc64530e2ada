"""Embedding models and rerankers in the engine: the twins' numbers, and the same bits however."""

import numpy as np
import pytest

from server.checkpoints.locate import locate
from server.config import EngineSettings
from server.engine.build import build_engine
from server.engine.prefix_cache import PrefixCache
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.state_cache.state_cache import StateCache
from tests.model.embedding_models import (
    END,
    HEADS,
    EmbeddingTwin,
    RerankerTwin,
    embedding_tensors,
    noise,
    reranker_tensors,
    write_pth,
)
from tests.model.random_models import write_model

NOTHING = SamplingParams(max_tokens=0, seed=0)
PROMPTS = [
    [*(int(t) for t in np.random.default_rng(i).integers(1, 60_000, 1 + 9 * i)), END]
    for i in range(6)
]
SEVERAL_ENDS = [END, 5, 7, END, END, *PROMPTS[2]]


class Files:
    def __init__(self, folder):
        self.model, self.reranker = embedding_tensors(), reranker_tensors(layers=2)
        self.layers = [0, -1]
        self.model_path = write_pth(folder / "emb.pth", self.model)
        named = {"reranker_layer_idx": self.layers}
        self.reranker_path = write_pth(folder / "reranker.pth", self.reranker, **named)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("embedding"))


def build(files, threads=1, step_tokens=64, cache=None, dtype="float32", reranker=True, **parts):
    settings = EngineSettings(step_tokens=step_tokens, max_batch=4, weights_cache_bytes=0)
    return build_engine(
        *(locate(str(files.model_path), "world"), dtype, settings, threads, lambda *_: None),
        make_cache=lambda _: PrefixCache(cache),
        reranker=str(files.reranker_path) if reranker else "",
        **parts,
    ).engine


def run(engine, tasks):
    """Name → the only output of its task."""
    for name, task in tasks.items():
        engine.add(name, task)
    found = {}
    while engine.has_work:
        found |= {output.request_id: output for output in engine.step()}
    return found


def values(output):
    assert output.finish_reason == "stop"
    return np.frombuffer(output.embedding, "<f8")


def embedding(ids, head="retrieval", **fields):
    return Task(ids, NOTHING, pooling="ends", head=head, **fields)


def tasks_of(prompts):
    heads = list(HEADS)
    found = {f"e{i}": embedding(ids, heads[i % 3]) for i, ids in enumerate(prompts)}
    return found | {f"s{i}": Task(ids, NOTHING, pooling="state") for i, ids in enumerate(prompts)}


ALL = tasks_of([*PROMPTS, SEVERAL_ENDS])


@pytest.fixture(scope="module")
def alone(files):
    """What each task gives when it has the engine for itself."""
    engine = build(files)
    return {name: run(engine, {name: task})[name].embedding for name, task in ALL.items()}


def test_vectors_and_scores_are_those_of_the_twins(files, alone):
    for name, task in ALL.items():
        twin = EmbeddingTwin(files.model)
        found = np.frombuffer(alone[name], "<f8")
        if task.pooling == "ends":
            np.testing.assert_allclose(found, twin.vector(task.prompt_ids, task.head), atol=1e-4)
        else:
            twin.rwkv.hidden_states(task.prompt_ids)
            expected = RerankerTwin(files.reranker, files.layers).logit(twin.rwkv.state)
            np.testing.assert_allclose(found, [expected], atol=1e-4)


@pytest.mark.parametrize(("threads", "step_tokens"), [(1, 4), (2, 7), (3, 64)])
def test_batched_and_chunked_they_have_the_bits_they_have_alone(files, alone, threads, step_tokens):
    found = run(build(files, threads, step_tokens), ALL)
    assert {name: output.embedding for name, output in found.items()} == alone


@pytest.mark.parametrize(("dtype", "least"), [("int8", 0.99), ("int4", 0.9)])
def test_rounded_weights_stay_near_and_batch_alike(files, alone, dtype, least):
    engine = build(files, threads=2, dtype=dtype)
    found = run(engine, ALL)
    again = {name: run(engine, {name: task})[name] for name, task in ALL.items()}
    for name, output in found.items():
        assert output.embedding == again[name].embedding
        one, other = values(output), np.frombuffer(alone[name], "<f8")
        if name.startswith("e"):
            assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > least


def test_a_cached_beginning_changes_no_bit(files, alone):
    engine = build(files, cache=StateCache(64 << 20))
    ids = PROMPTS[5]
    use = CacheUse(boundaries={40: "message"}, implicit=False)
    first = run(engine, {"s5": Task(ids, NOTHING, pooling="state", use=use)})["s5"]
    assert (first.cached_tokens, first.embedding) == (0, alone["s5"])
    second = run(engine, {name: ALL[name] for name in ("s5", "e5")})
    assert second["s5"].cached_tokens == second["e5"].cached_tokens == 40
    assert {name: output.embedding for name, output in second.items()} == {
        name: alone[name] for name in ("s5", "e5")
    }


def test_an_embedding_does_not_begin_after_the_first_end(files, alone):
    engine = build(files, cache=StateCache(64 << 20))
    use = CacheUse(boundaries={len(SEVERAL_ENDS) - 1: "message"}, implicit=False)
    run(engine, {"s": Task(SEVERAL_ENDS, NOTHING, pooling="state", use=use)})
    (name,) = (name for name, task in ALL.items() if task == embedding(SEVERAL_ENDS, task.head))
    found = run(engine, {name: ALL[name]})[name]
    assert (found.cached_tokens, found.embedding) == (0, alone[name])


def test_adapters_and_tuned_states_are_those_of_any_model(files, tmp_path):
    ids = PROMPTS[3]
    changed = {"blocks.1.att.key.weight": noise("key", 128, 128) / 8}
    lora = {
        "blocks.0.ffn.key.lora_A": noise("a", 4, 128) / 8,
        "blocks.0.ffn.key.lora_B": noise("b", 512, 4) / 8,
    }
    tuned = {f"blocks.{i}.att.time_state": noise(f"s{i}", 2, 64, 64) / 8 for i in range(3)}
    adapter = write_model(tmp_path / "lora.safetensors", lora | changed)
    state = write_model(tmp_path / "state.safetensors", tuned)
    engine = build(files, adapters=[f"{adapter}:8"], states={"poet": str(state)})
    tensors = files.model | {f"rwkv.{name}": values for name, values in changed.items()}
    key = "rwkv.blocks.0.ffn.key.weight"
    product = lora["blocks.0.ffn.key.lora_B"] @ lora["blocks.0.ffn.key.lora_A"]
    twin = EmbeddingTwin(tensors | {key: tensors[key] + 8 / 4 * product})
    twin.rwkv.state[:] = np.stack(list(tuned.values()))
    found = values(run(engine, {"e": embedding(ids, initial_state="poet")})["e"])
    np.testing.assert_allclose(found, twin.vector(ids), atol=1e-4)


def test_nothing_is_left_of_what_was_aborted(files):
    engine = build(files, step_tokens=4)
    for name, task in ALL.items():
        engine.add(name, task)
    for _ in range(5):
        engine.step()
    for name in ALL:
        engine.abort(name)
    assert not engine.has_work
    assert not engine._runner._pooler._sums
