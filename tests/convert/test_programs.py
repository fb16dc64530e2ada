"""Files for other programs are what their own converters would write."""

import json
import re

import numpy as np
import pytest

from server.checkpoints.checkpoint import EPSILON_KEY, CheckpointError
from server.checkpoints.safetensors import read_safetensors
from tests.checkpoints.ai00_files import converted, halves
from tests.convert.converting import assert_same, run, values_of, write_stored
from tests.model.random_models import random_tensors, write_model


def model(generation, states=False):
    tensors = random_tensors(generation=generation, layers=2, dim=128, head_size=64)
    if states:
        rng = np.random.default_rng(2)
        for layer in range(2):
            state = rng.standard_normal((2, 64, 64)).astype(np.float32)
            tensors[f"blocks.{layer}.att.time_state"] = state
    return tensors


@pytest.mark.parametrize("generation", ["rwkv4", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7"])
def test_for_ai00_it_is_what_their_converter_writes(tmp_path, generation):
    tensors = model(generation, states=generation != "rwkv4")
    source = write_model(tmp_path / "a.safetensors", tensors)
    line = run(source, tmp_path / "b.st", program="ai00")[0]
    assert "(safetensors, float16): the largest error is" in line
    expected = converted(tensors)
    found = read_safetensors(tmp_path / "b.st").tensors
    assert {name: t.shape for name, t in found.items()} == {
        name: values.shape for name, values in expected.items()
    }
    for name, values in expected.items():
        assert found[name].dtype == "float16"
        np.testing.assert_array_equal(found[name].data, values, err_msg=name)
    if generation != "rwkv5.1":  # which comes back as 5.2, of which it is a case
        assert_same(values_of(tmp_path / "b.st"), halves(tensors))
    run(tmp_path / "b.st", tmp_path / "c.st", program="ai00", force=True)
    assert (tmp_path / "c.st").read_bytes() == (tmp_path / "b.st").read_bytes()


def test_square_matrices_for_ai00_come_back(tmp_path):
    tensors = random_tensors(layers=2, dim=64, head_size=64)
    rng = np.random.default_rng(4)
    for name in tensors:
        if re.search(r"att\.[wavg][12]$", name):
            tensors[name] = rng.standard_normal((64, 64)).astype(np.float32)
    source = write_model(tmp_path / "a.safetensors", tensors)
    run(source, tmp_path / "b.st", program="ai00")
    run(tmp_path / "b.st", tmp_path / "c.safetensors")
    assert_same(values_of(tmp_path / "c.safetensors"), halves(tensors))
    run(tmp_path / "c.safetensors", tmp_path / "d.safetensors")
    assert_same(values_of(tmp_path / "d.safetensors"), halves(tensors))


def test_what_ai00_cannot_hold_is_refused(tmp_path):
    source = write_model(tmp_path / "a.safetensors", model("rwkv5.0"))
    with pytest.raises(CheckpointError, match=r"RWKV-5\.0 has no gate, without which Ai00 runs"):
        run(source, tmp_path / "b.st", program="ai00")
    other = write_stored(
        tmp_path / "e.safetensors", model("rwkv5.2"), "float32", {EPSILON_KEY: "1e-05"}
    )
    with pytest.raises(CheckpointError, match="group norm has epsilon 1e-05, and Ai00's has"):
        run(other, tmp_path / "b.st", program="ai00")
    for generation, heads, match in (
        ("rwkv7a", 64, "Ai00 has no DeepEmbed"),
        ("rwkv7", 32, "heads of 32; Ai00 runs heads of 64 only"),
        ("rwkv7", 128, "heads of 128; Ai00 runs heads of 64 only"),
        ("rwkv6", 32, "heads of 32; Ai00 runs heads of 64 only"),
    ):
        tensors = random_tensors(2, 128, 40, heads, 1, generation)
        source = write_model(tmp_path / "f.safetensors", tensors)
        with pytest.raises(CheckpointError, match=match):
            run(source, tmp_path / "b.st", program="ai00")
    source = write_model(tmp_path / "c.safetensors", model("rwkv7"))
    with pytest.raises(CheckpointError, match="--dtype bfloat16: Ai00 reads float16 only"):
        run(source, tmp_path / "b.st", "bfloat16", program="ai00")
    large = model("rwkv7")
    large["blocks.1.att.w0"] = large["blocks.1.att.w0"] + 1e6
    source = write_model(tmp_path / "d.safetensors", large)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.att\.w0: values up to .* float16"):
        run(source, tmp_path / "b.st", program="ai00")
    assert not (tmp_path / "b.st").exists()


@pytest.mark.parametrize(
    ("program", "name", "match"),
    [
        ("ai00", "b.gguf", r"--for ai00 reads a file \(NAME\.st\), not format gguf"),
        ("ai00", "folder", r"--for ai00 reads a file \(NAME\.st\), not format huggingface"),
        ("transformers", "b.st", "--for transformers reads a folder, not format safetensors"),
        ("fla", "b.packed", "--for fla reads a folder, not format packed"),
    ],
)
def test_a_program_reads_one_format(tmp_path, program, name, match):
    source = write_model(tmp_path / "a.safetensors", model("rwkv7"))
    with pytest.raises(CheckpointError, match=match):
        run(source, tmp_path / name, program=program)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_for_transformers_and_back_is_exact(tmp_path, stored):
    source = write_stored(tmp_path / "a.safetensors", model("rwkv7"), stored)
    run(source, tmp_path / "folder", program="transformers")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["architectures"] == ["Rwkv7ForCausalLM"]
    assert (config["num_heads"], config["head_dim"]) == (2, 64)
    assert config["dtype"] == stored
    found = read_safetensors(tmp_path / "folder" / "model.safetensors")
    zeros = {f"rwkv7.blocks.0.att.v{n}" for n in range(3)}
    assert set(found.tensors) == zeros | {
        name if name == "head.weight" else f"rwkv7.{name}" for name in values_of(source)
    }
    assert not any(found.tensors[name].to_float32().any() for name in zeros)
    run(tmp_path / "folder", tmp_path / "fla")
    run(tmp_path / "fla", tmp_path / "c.safetensors")
    assert_same(values_of(tmp_path / "c.safetensors"), values_of(source))


def test_only_rwkv7_is_for_transformers(tmp_path):
    source = write_model(tmp_path / "a.safetensors", model("rwkv6"))
    with pytest.raises(CheckpointError, match="RWKV-6 does not fit format huggingface"):
        run(source, tmp_path / "folder", program="transformers")
