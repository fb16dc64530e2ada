"""States to begin with: a tuned one is as if the model had read something."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config
from server.model.initial_state import empty_state, initial_state, read_initial_state
from server.model.state import StatePool
from tests.model.random_models import load_model, random_tensors, write_model
from tests.model.reading import PROMPT, read
from tests.naive_models import twin

LAYERS, HEADS, SIZE = 3, 3, 20


def tuned(seed=0, layers=LAYERS, shape=(HEADS, SIZE, SIZE)):
    rng = np.random.default_rng(seed)
    return {
        f"blocks.{layer}.att.time_state": rng.standard_normal(shape, dtype=np.float32)
        for layer in range(layers)
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = write_model(tmp_path_factory.mktemp("model") / "model.st", random_tensors())
    return read_config(open_checkpoint(path))


@pytest.mark.parametrize("generation", ["rwkv5.2", "rwkv6", "rwkv7", "rwkv7a"])
def test_a_tuned_state_is_the_twins(tmp_path, generation):
    tensors, states = random_tensors(generation=generation), tuned()
    model = load_model(write_model(tmp_path / "model.st", tensors))
    expected = twin(tensors)
    for layer, values in enumerate(states.values()):
        expected.state[layer] = values if "rwkv7" in generation else values.transpose(0, 2, 1)
    pool = StatePool(model.config, 4)
    path = write_model(tmp_path / "state.st", states)
    slot = pool.acquire(read_initial_state(model.config, path))
    logits, _ = read(model, [PROMPT], slot, pool)
    np.testing.assert_allclose(logits, expected.read(PROMPT), atol=1e-4)


def full(seed=5, layers=LAYERS, dim=HEADS * SIZE):
    """What RWKV-PEFT's `fullstate` tunes: the shifts of the first token as well."""
    rng = np.random.default_rng(seed)
    shifts = {
        f"blocks.{layer}.{part}.ts_state": rng.standard_normal(dim, dtype=np.float32)
        for layer in range(layers)
        for part in ("att", "ffn")
    }
    return tuned() | shifts


@pytest.mark.parametrize("generation", ["rwkv7", "rwkv7a"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_full_state_is_the_twins(tmp_path, inside, generation):
    tensors, states = random_tensors(generation=generation), full()
    stored = tensors | states if inside else tensors
    model = load_model(write_model(tmp_path / "model.st", stored))
    expected = twin(tensors)
    for layer in range(LAYERS):
        expected.state[layer] = states[f"blocks.{layer}.att.time_state"]
        expected.time_shift[layer] = states[f"blocks.{layer}.att.ts_state"]
        expected.channel_shift[layer] = states[f"blocks.{layer}.ffn.ts_state"]
    path = write_model(tmp_path / "state.st", stored if inside else states)
    pool = StatePool(model.config, 4)
    found = (
        initial_state(model.config, path, open_checkpoint(path).tensors)
        if inside
        else read_initial_state(model.config, path)
    )
    logits, _ = read(model, [PROMPT], pool.acquire(found), pool)
    np.testing.assert_allclose(logits, expected.read(PROMPT), atol=1e-4)


@pytest.mark.parametrize(
    ("states", "match"),
    [
        (full(layers=2), r"blocks\.2\.att\.ts_state is missing"),
        (full(layers=4), r"blocks\.3\.att\.ts_state: the model has 3 layers"),
        (full(dim=61), r"blocks\.0\.att\.ts_state is float32 \[61\], expected \[60\]"),
        (dict(list(full().items())[:-1]), r"blocks\.2\.ffn\.ts_state is missing"),
        (dict(list(full().items())[LAYERS:]), r"blocks\.0\.att\.time_state is missing"),
        (full() | {"blocks.1.ffn.ts_state": np.full(60, np.inf, np.float32)}, "not finite"),
    ],
)
def test_full_states_that_do_not_fit(tmp_path, config, states, match):
    with pytest.raises(CheckpointError, match=match):
        read_initial_state(config, write_model(tmp_path / "state.st", states))


def test_only_rwkv7_has_full_states(tmp_path):
    path = write_model(tmp_path / "model.st", random_tensors(generation="rwkv6"))
    config = read_config(open_checkpoint(path))
    with pytest.raises(CheckpointError, match=r"att\.ts_state: only RWKV-7 has a ts_state"):
        read_initial_state(config, write_model(tmp_path / "state.st", full()))


def test_a_checkpoint_may_bring_its_own(tmp_path):
    tensors, states = random_tensors(), tuned()
    checkpoint = open_checkpoint(write_model(tmp_path / "both.st", tensors | states))
    config = read_config(checkpoint)
    found = initial_state(config, checkpoint.path, checkpoint.tensors)
    alone = read_initial_state(config, write_model(tmp_path / "state.st", states))
    assert found["wkv"].tobytes() == alone["wkv"].tobytes()
    assert found["wkv"].any()
    assert not found["shift"].any()
    plain = open_checkpoint(write_model(tmp_path / "model.st", tensors))
    assert not initial_state(config, plain.path, plain.tensors)["wkv"].any()


def test_an_empty_state_of_rwkv4_has_no_past(tmp_path):
    path = write_model(tmp_path / "model.st", random_tensors(generation="rwkv4"))
    config = read_config(open_checkpoint(path))
    state = empty_state(config)
    assert (state["wkv"][:, 2] == np.float32(-1e30)).all()
    assert not state["wkv"][:, :2].any()
    assert config.state_bytes == sum(array.nbytes for array in state.values()) == 4 * 3 * 5 * 60
    with pytest.raises(CheckpointError, match="RWKV-4 has no time_state"):
        read_initial_state(config, write_model(tmp_path / "state.st", tuned()))


def broken(layer, values):
    return tuned() | {f"blocks.{layer}.att.time_state": values}


@pytest.mark.parametrize(
    ("states", "match"),
    [
        (tuned(layers=2), r"blocks\.2\.att\.time_state is missing"),
        (tuned(layers=4), r"blocks\.3\.att\.time_state: the model has 3 layers"),
        (tuned(shape=(HEADS, SIZE, SIZE + 1)), r"\[3, 20, 21\], expected \[3, 20, 20\]"),
        (broken(1, np.full((HEADS, SIZE, SIZE), np.nan, np.float32)), "not finite"),
        (tuned() | {"emb.weight": np.zeros((3, 3), np.float32)}, "is no part of a state"),
    ],
)
def test_what_is_no_state_of_the_model_is_refused(tmp_path, config, states, match):
    path = write_model(tmp_path / "state.st", states)
    with pytest.raises(CheckpointError, match=match):
        read_initial_state(config, path)
