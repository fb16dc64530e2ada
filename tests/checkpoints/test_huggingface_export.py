"""RWKV-7 models as flash-linear-attention loads them, and back."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.huggingface import to_huggingface
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from tests.checkpoints.huggingface_exports import (
    DIM,
    LAYERS,
    fla6,
    fla7,
    official_tensors,
    write_folder,
)


@pytest.fixture
def v7():
    return official_tensors("v7")


def test_there_and_back(tmp_path, v7):
    extra = {f"blocks.0.att.v{n}": v7[f"blocks.1.att.v{n}"] for n in range(3)}
    path = tmp_path / "official.safetensors"
    write_safetensors(path, {n: ("float32", v) for n, v in (v7 | extra).items()})
    tensors, config = to_huggingface(open_checkpoint(path))
    expected = fla7(v7)
    assert set(tensors) == set(expected)
    for name, values in expected.items():
        assert tensors[name].name == name
        assert tensors[name].shape == values.shape
        np.testing.assert_array_equal(tensors[name].to_float32(), values)
    assert config["model_type"] == "rwkv7"
    assert (config["num_hidden_layers"], config["head_dim"]) == (LAYERS, 4)
    assert config["value_dim"] == [DIM] * LAYERS
    assert config["v_low_rank_dim"] == v7["blocks.1.att.v1"].shape[1]
    exported = {name: tensor.to_float32() for name, tensor in tensors.items()}
    folder = write_folder(tmp_path / "back", exported, config, shards=2)
    found = open_checkpoint(folder).tensors
    assert set(found) == set(v7)
    for name, values in v7.items():
        np.testing.assert_array_equal(found[name].to_float32(), values)


def test_only_rwkv7_can_be_exported(tmp_path):
    path = tmp_path / "v4.safetensors"
    v4 = official_tensors("v4")
    write_safetensors(path, {name: ("float32", values) for name, values in v4.items()})
    with pytest.raises(CheckpointError, match=r"is not part of RWKV-7"):
        to_huggingface(open_checkpoint(path))


def test_decoded_tensors_can_be_exported_too(tmp_path, v7):
    """What has no plain bytes (quantised formats) is transposed when it is read."""
    path = tmp_path / "official.safetensors"
    write_safetensors(path, {name: ("float32", values) for name, values in v7.items()})
    checkpoint = open_checkpoint(write_folder(tmp_path / "six", fla6(official_tensors("v6"))))
    mixed = checkpoint.tensors["blocks.0.att.time_maa_w1"]
    assert mixed.decode is not None
    official = open_checkpoint(path)
    official.tensors["blocks.0.att.w1"] = mixed
    tensors, _ = to_huggingface(official)
    found = tensors["model.layers.0.attn.w_lora.lora.0.weight"]
    np.testing.assert_array_equal(found.to_float32(), mixed.to_float32().T)
