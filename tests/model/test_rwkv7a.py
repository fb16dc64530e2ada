"""RWKV-7a: what its deep embedding adds to RWKV-7; the rest is tested in test_rwkv7.py."""

import os
import subprocess
import sys

import numpy as np
import pytest

from server.checkpoints.adapters import apply_adapter
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model.config import read_config
from server.model.initialize import design, initialize
from server.model.loading import WeightsCache, load_weights
from tests.model.random_models import load_model, random_tensors, write_model
from tests.model.reading import PROMPT, assert_same_bits, read
from tests.naive_models import Rwkv7

NAMES = ("s_emb.weight", "s_emb_x.weight", "s0", "s1", "s2")
SIZES = {"layers": 2, "dim": 64, "head_size": 64, "generation": "rwkv7a"}


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(**SIZES)


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors", tensors)


def table_of(path, dtype, cache=None):
    found = open_checkpoint(path)
    weights = load_weights(found, read_config(found), dtype, Team(1), cache, lambda *_: None)
    return weights.deep_embedding


def merged(tensors):
    """[V, L, 1024] the table as official code begins, in float64."""
    twin = Rwkv7(tensors)
    embedded = [twin.norm("blocks.0.ln0", row) for row in twin.w["emb.weight"]]
    prefixes = [f"blocks.{layer}.ffn." for layer in range(twin.layers)]
    parts = [(twin.w[p + "s_emb.weight"], twin.w[p + "s_emb_x.weight"]) for p in prefixes]
    return np.stack([table + np.array(embedded) @ matrix.T for table, matrix in parts], axis=1)


def test_logits_are_the_twins_and_differ_from_rwkv7(checkpoint, tensors):
    logits, _ = read(load_model(checkpoint, threads=2), [PROMPT])
    np.testing.assert_allclose(logits, Rwkv7(tensors).read(PROMPT), atol=1e-4)
    plain = {name: t for name, t in tensors.items() if not name.endswith(NAMES)}
    assert np.abs(logits - Rwkv7(plain).read(PROMPT)).max() > 0.01


SCRIPT = """
import sys, numpy as np, torch
from rwkv.model import RWKV
logits, _ = RWKV(sys.argv[1], "cpu fp32").forward([int(t) for t in sys.argv[2:]], None)
logits.numpy().tofile(sys.argv[1] + ".logits")
"""


def test_logits_are_those_of_the_rwkv_package(tensors, checkpoint, tmp_path):
    torch = pytest.importorskip("torch")
    unused = {f"blocks.0.att.v{n}": torch.zeros(1) for n in "012"}
    torch.save({n: torch.tensor(t) for n, t in tensors.items()} | unused, tmp_path / "m.pth")
    environment = {"RWKV_V7_ON": "1", "RWKV_DE_VERSION": "1", "RWKV_JIT_ON": "0"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "m", *map(str, PROMPT)],
        env=os.environ | environment, check=True, capture_output=True,
    )  # fmt: skip
    expected = np.fromfile(tmp_path / "m.logits", np.float32)
    logits, _ = read(load_model(checkpoint, threads=2), [PROMPT])
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_chunks_neighbours_and_threads_give_the_same_bits(checkpoint, dtype):
    assert_same_bits(checkpoint, dtype)


def test_hidden_channels_that_fill_no_block(tmp_path):
    # 4 · 21 hidden channels: the last block of 16 rows has four.
    tensors = random_tensors(layers=2, dim=21, head_size=7, generation="rwkv7a")
    model = load_model(write_model(tmp_path / "m.safetensors", tensors), threads=3)
    logits, _ = read(model, [PROMPT])
    np.testing.assert_allclose(logits, Rwkv7(tensors).read(PROMPT), atol=1e-4)


def test_the_table_is_merged_and_a_token_reads_one_place(checkpoint, tensors):
    exact = merged(tensors)
    found = table_of(checkpoint, "float32")
    assert (found.dtype, found.shape) == (np.float32, (97, 2, 1024))
    np.testing.assert_allclose(found, exact, atol=2e-5)
    for dtype in ("bfloat16", "int8", "int4"):
        halves = table_of(checkpoint, dtype)
        assert (halves.dtype, halves.shape) == (np.int16, (97, 2, 1024))
        assert halves.tobytes() == found.astype(np.float16).tobytes()


def test_the_table_is_mapped_from_the_packed_file(checkpoint, tmp_path):
    cache = WeightsCache(tmp_path / "weights", 1 << 30)
    table_of(checkpoint, "int8", cache)
    table = table_of(checkpoint, "int8", cache)
    base = table
    while isinstance(base, np.ndarray):
        assert not base.flags.owndata
        base = base.base
    assert not table.flags.writeable
    assert table.tobytes() == table_of(checkpoint, "int8").tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_without_a_tensor_is_refused_by_name(tensors, tmp_path, name, layer):
    missing = f"blocks.{layer}.ffn.{name}"
    path = write_model(
        tmp_path / "m.safetensors", {n: t for n, t in tensors.items() if n != missing}
    )
    with pytest.raises(CheckpointError, match=rf"m\.safetensors: tensor {missing} is missing"):
        read_config(open_checkpoint(path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("s_emb.weight", (96, 1024)),
        ("s_emb.weight", (98, 1024)),
        ("s_emb.weight", (97, 256)),
        ("s_emb.weight", (1024, 97)),
        ("s_emb.weight", (97, 32, 32)),
        ("s_emb_x.weight", (64, 1024)),
        ("s_emb_x.weight", (1000, 64)),
        ("s0", (255,)),
        ("s0", (64, 4)),
        ("s1", (32, 64)),
        ("s1", (64, 16)),
        ("s2", (256, 32)),
        ("s2", (16, 256)),
    ],
)
def test_a_wrong_shape_is_refused_by_name(tensors, tmp_path, name, shape):
    wrong = f"blocks.1.ffn.{name}"
    changed = tensors | {wrong: np.zeros(shape, np.float32)}
    path = write_model(tmp_path / "m.safetensors", changed)
    with pytest.raises(CheckpointError, match=rf"tensor {wrong} has shape .*, expected \["):
        read_config(open_checkpoint(path))


def test_a_vector_may_be_stored_flat(tensors):
    assert tensors["blocks.0.ffn.s0"].shape == (1, 1, 256)


def test_values_that_do_not_fit_are_refused_by_name(tensors, tmp_path):
    for value, dtype, match in (
        (np.nan, "float32", "not finite"),
        (np.inf, "int8", "not finite"),
        (1e6, "int8", r"values up to 1e\+06: use --dtype float32"),
    ):
        table = tensors["blocks.1.ffn.s_emb.weight"].copy()
        table[96, 7] = value
        path = write_model(
            tmp_path / "m.safetensors", tensors | {"blocks.1.ffn.s_emb.weight": table}
        )
        with pytest.raises(CheckpointError, match=rf"blocks\.1\.ffn\.s_emb\.weight has .*{match}"):
            table_of(path, dtype)
    table_of(path, "float32")


def test_rwkv7b_is_refused_by_name(tensors, tmp_path):
    more = tensors | {"blocks.0.qkv.k1": np.zeros((64, 32), np.float32)}
    path = write_model(tmp_path / "m.safetensors", more)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.qkv\.k1 belongs to RWKV-7b"):
        read_config(open_checkpoint(path))


def test_adapters_change_the_table_before_it_is_merged(tensors, checkpoint, tmp_path):
    random = np.random.default_rng(3)
    adapter, expected = {}, dict(tensors)
    for name in ("blocks.0.ffn.s_emb.weight", "blocks.1.ffn.s_emb_x.weight"):
        rows, columns = tensors[name].shape
        down, up = random.standard_normal((4, columns)), random.standard_normal((rows, 4))
        stem = name.removesuffix(".weight")
        adapter[f"{stem}.lora_A.weight"] = down.astype(np.float32)
        adapter[f"{stem}.lora_B.weight"] = up.astype(np.float32)
        expected[name] = tensors[name] + up @ down * (8 / 4)
    changed = apply_adapter(
        open_checkpoint(checkpoint), write_model(tmp_path / "lora.safetensors", adapter), 8.0
    )
    weights = load_weights(changed, read_config(changed), "float32", Team(1), None, lambda *_: None)
    np.testing.assert_allclose(weights.deep_embedding, merged(expected), atol=1e-3)


def test_a_fresh_model_computes_what_rwkv7_does():
    tensors = dict(initialize(design("rwkv7a", 2, 64, 97), 5))
    plain = dict(initialize(design("rwkv7", 2, 64, 97), 5))
    assert {n for n in tensors if n not in plain} == {
        f"blocks.{layer}.ffn.{name}" for layer in range(2) for name in NAMES
    }
    assert all(np.array_equal(tensors[name], values) for name, values in plain.items())
    assert np.abs(tensors["blocks.1.ffn.s_emb.weight"]).max() > 0
    scale = Rwkv7(tensors)
    scale.token = 3
    np.testing.assert_array_equal(scale.deep_scale("blocks.1.ffn.", np.ones(64)), np.ones(256))
