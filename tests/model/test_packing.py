"""Packing a piece at a time gives what packing all at once would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.checkpoints.adapters import apply_adapter
from server.checkpoints.checkpoint import CheckpointError, float32_to_bfloat16
from server.checkpoints.reader import open_checkpoint
from server.kernels.pack import pack_rows, padded
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import load_weights
from server.model.packing import PIECE_ROWS
from tests.kernels.test_linear import pack
from tests.model.random_models import random_tensors, write_model

VOCABULARY = 2 * PIECE_ROWS + 37


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(layers=2, vocab_size=VOCABULARY)


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("packing") / "model.safetensors"
    return open_checkpoint(write_model(path, tensors))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("threads", [1, 3])
def test_matrices_of_several_pieces(tensors, checkpoint, dtype, threads):
    config = read_config(checkpoint)
    weights = load_weights(checkpoint, config, dtype, Team(threads), None, lambda *_: None)
    # The head has at least 8 bits.
    expected, _ = pack(tensors["head.weight"], "int8" if dtype == "int4" else dtype)
    for found, array in zip(weights.head, expected, strict=True):
        assert found[0].tobytes() == array.tobytes()
    for layer in range(2):
        name = f"blocks.{layer}.ffn.key.weight"
        expected, _ = pack(tensors[name], dtype)
        for found, array in zip(weights.channel_key, expected, strict=True):
            assert found[layer].tobytes() == array.tobytes()
    embedding = tensors["emb.weight"]
    if dtype != "float32":
        embedding = float32_to_bfloat16(embedding)
    assert weights.embedding.tobytes() == embedding.tobytes()
    down = tensors["blocks.1.att.w1"].T  # stored [inputs, outputs], and never rounded
    assert weights.decay_down.codes[1].tobytes() == pack(down, "float32")[0].codes.tobytes()


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 50), st.integers(1, 20)),
                     elements=st.floats(width=32, allow_nan=False)))  # fmt: skip
def test_packing_rows_loses_nothing(weights):
    rows, columns = weights.shape
    packed = np.full((padded(rows) // 16, columns, 16), 7, dtype=np.float32)
    pack_rows(weights, packed)
    unpacked = packed.transpose(0, 2, 1).reshape(-1, columns)
    np.testing.assert_array_equal(unpacked[:rows], weights)
    assert not unpacked[rows:].any()


def test_float16_that_an_adapter_changed_is_float16(tmp_path):
    tensors = {n: t.astype(np.float16) for n, t in random_tensors(layers=1).items()}
    base = open_checkpoint(write_model(tmp_path / "half.st", tensors, "float16"))
    name = "blocks.0.att.key"
    pair = {"A": np.full((1, 60), 0.25, np.float32), "B": np.full((60, 1), 0.5, np.float32)}
    lora = write_model(tmp_path / "lora.st", {f"{name}.lora_{s}": v for s, v in pair.items()})
    merged = apply_adapter(base, lora, 1.0)
    values = tensors[f"{name}.weight"].astype(np.float32) + np.float32(0.125)
    whole = tensors | {f"{name}.weight": values.astype(np.float16)}
    expected = open_checkpoint(write_model(tmp_path / "merged.st", whole, "float16"))
    found = [
        load_weights(each, read_config(each), "bfloat16", Team(1), None, lambda *_: None)
        for each in (merged, expected)
    ]
    assert found[0].key.codes.dtype == np.int16
    assert found[0].key.codes.tobytes() == found[1].key.codes.tobytes()
    large = write_model(
        tmp_path / "large.st", {f"{name}.lora_{s}": 600 * v for s, v in pair.items()}
    )
    changed = apply_adapter(merged, large, 2.0)
    with pytest.raises(CheckpointError, match=r"att\.key\.weight has values up to 9e\+04"):
        load_weights(changed, read_config(changed), "bfloat16", Team(1), None, lambda *_: None)
