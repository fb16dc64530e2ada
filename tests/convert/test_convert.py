"""From every format to every format: what must be exact is, and what is rounded is as it should."""

import json
import re

import numpy as np
import pytest

from server.checkpoints.checkpoint import (
    EPSILON_KEY,
    CheckpointError,
    bfloat16_to_float32,
    float32_to_bfloat16,
)
from server.checkpoints.ggml import encode
from server.checkpoints.reader import open_checkpoint
from server.convert import writers
from server.model.config import read_config
from server.model.tensors import FIELDS
from tests.convert.converting import assert_same, dtypes_of, run, values_of, write_stored
from tests.model.random_models import random_tensors, write_model

MATRICES = ("emb.weight", "head.weight", "blocks.1.att.key.weight", "blocks.0.ffn.value.weight")


def random_model(generation="rwkv7", **sizes):
    return random_tensors(**{"layers": 2, "generation": generation} | sizes)


@pytest.mark.parametrize("generation", FIELDS)
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_to_safetensors_every_generation_is_exact(tmp_path, generation, stored):
    source = write_stored(tmp_path / "a.safetensors", random_model(generation), stored)
    (line,) = run(source, tmp_path / "b.st")[:1]
    assert "(safetensors, " + stored in line
    assert "all values are exact" in line
    assert dtypes_of(tmp_path / "b.st") == dtypes_of(source)
    assert_same(values_of(tmp_path / "b.st"), values_of(source))


@pytest.mark.parametrize("generation", ["rwkv6", "rwkv7"])
def test_through_gguf_and_back_is_exact(tmp_path, generation):
    source = write_model(tmp_path / "a.safetensors", random_model(generation))
    assert "(gguf, f32): all values are exact" in run(source, tmp_path / "b.gguf")[0]
    run(tmp_path / "b.gguf", tmp_path / "c.safetensors")
    assert_same(values_of(tmp_path / "c.safetensors"), values_of(source))
    assert read_config(open_checkpoint(tmp_path / "c.safetensors")) == read_config(
        open_checkpoint(source)
    )


@pytest.mark.parametrize(("name", "format"), [("b.gguf", "gguf"), ("folder", "huggingface")])
def test_formats_without_a_deep_embedding_refuse_it_by_name(tmp_path, name, format):
    source = write_model(tmp_path / "a.safetensors", random_model("rwkv7a"))
    with pytest.raises(CheckpointError, match=rf"RWKV-7a does not fit format {format}"):
        run(source, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("shard_bytes", [1 << 40, 20_000])
def test_through_a_folder_and_back_is_exact(tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(writers, "SHARD_BYTES", shard_bytes)
    source = write_model(tmp_path / "a.safetensors", random_model())
    run(source, tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert (config["model_type"], config["torch_dtype"]) == ("rwkv7", "float32")
    index = tmp_path / "folder" / "model.safetensors.index.json"
    assert index.exists() == (shard_bytes == 20_000)
    if index.exists():
        found = json.loads(index.read_text())
        assert set(found["weight_map"].values()) == {p.name for p in index.parent.glob("*.safeten*")
                                                     if p != index}  # fmt: skip
        assert found["metadata"]["total_size"] == sum(v.nbytes for v in values_of(source).values())
    run(tmp_path / "folder", tmp_path / "c.safetensors")
    assert_same(values_of(tmp_path / "c.safetensors"), values_of(source))
    again = tmp_path / "again"
    run(tmp_path / "folder", again, "bfloat16")
    assert_same(values_of(again), rounded(values_of(source), "bfloat16"))


def rounded(tensors, dtype):
    """Large matrices as they become; low-rank matrices and vectors as they are."""

    def one(name, values):
        if values.ndim != 2 or not name.endswith(".weight"):
            return values
        if dtype == "float16":
            return values.astype(np.float16).astype(np.float32)
        return bfloat16_to_float32(float32_to_bfloat16(values))

    return {name: one(name, values) for name, values in tensors.items()}


@pytest.mark.parametrize("generation", FIELDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_for_large_matrices(tmp_path, generation, dtype):
    tensors = random_model(generation)
    source = write_model(tmp_path / "a.safetensors", tensors)
    (line,) = run(source, tmp_path / "b.safetensors", dtype)[:1]
    assert "the largest error is" in line
    assert_same(values_of(tmp_path / "b.safetensors"), rounded(values_of(source), dtype))
    found = dtypes_of(tmp_path / "b.safetensors")
    assert {found[name] for name in MATRICES} == {dtype}
    assert {d for n, d in found.items() if not n.endswith("weight") or ".ln" in n} == {"float32"}


def test_what_is_not_rounded_keeps_its_dtype(tmp_path):
    source = write_stored(tmp_path / "a.safetensors", random_model(), "bfloat16")
    run(source, tmp_path / "b.safetensors", "float16")
    found = dtypes_of(tmp_path / "b.safetensors")
    assert (found["head.weight"], found["blocks.1.att.w1"]) == ("float16", "bfloat16")
    run(source, tmp_path / "c.safetensors", "f32")
    assert set(dtypes_of(tmp_path / "c.safetensors").values()) == {"float32"}
    assert_same(values_of(tmp_path / "c.safetensors"), values_of(source))


@pytest.mark.parametrize("dtype", ["f16", "bfloat16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"])
@pytest.mark.parametrize("generation", ["rwkv6", "rwkv7"])
def test_gguf_is_within_its_bounds(tmp_path, generation, dtype):
    tensors = random_model(generation, dim=64, head_size=32)
    source = write_model(tmp_path / "a.safetensors", tensors)
    line = run(source, tmp_path / "b.gguf", dtype)[0]
    assert "the largest error is" in line
    found = values_of(tmp_path / "b.gguf")
    steps = {"f16": 2**11, "bfloat16": 2**8, "q8_0": 250, "q5_1": 30, "q5_0": 15, "q4_1": 14,
             "q4_0": 7}[dtype]  # fmt: skip
    for name in MATRICES:
        largest = np.abs(tensors[name]).max()
        assert 0 < np.abs(found[name] - tensors[name]).max() < largest / steps


def test_quantised_sources_become_float32_by_default(tmp_path):
    tensors = random_model(dim=64, head_size=32)
    source = write_model(tmp_path / "a.safetensors", tensors)
    run(source, tmp_path / "b.gguf", "q4_0")
    assert "all values are exact" in run(tmp_path / "b.gguf", tmp_path / "c.safetensors")[0]
    assert dtypes_of(tmp_path / "c.safetensors")["head.weight"] == "float32"
    assert_same(values_of(tmp_path / "c.safetensors"), values_of(tmp_path / "b.gguf"))
    run(tmp_path / "b.gguf", tmp_path / "d.safetensors", "bfloat16")
    assert dtypes_of(tmp_path / "d.safetensors")["head.weight"] == "bfloat16"


def test_pieces_are_the_whole(tmp_path, monkeypatch):
    source = write_model(tmp_path / "a.safetensors", random_model())
    for name, dtype in (("whole", "bfloat16"), ("pieces", "bfloat16")):
        run(source, tmp_path / f"{name}.st", dtype)
        monkeypatch.setattr("server.convert.precision.PIECE_VALUES", 7 * 60)
    whole, pieces = ((tmp_path / f"{name}.st").read_bytes() for name in ("whole", "pieces"))
    assert pieces.replace(b"pieces", b"whole ") == whole.replace(b"pieces", b"whole ")


def test_metadata_and_tuned_states_travel_along(tmp_path):
    tensors = random_model("rwkv5.2")
    states = {
        f"blocks.{i}.att.time_state": np.full((3, 20, 20), i + 0.1, np.float32) for i in (0, 1)
    }
    source = write_stored(
        tmp_path / "a.safetensors", tensors | states, "float32", {EPSILON_KEY: "1e-05", "by": "me"}
    )
    run(source, tmp_path / "b.safetensors", "bfloat16")
    found = open_checkpoint(tmp_path / "b.safetensors")
    assert read_config(found).group_norm_epsilon == 1e-5
    assert found.metadata["by"] == "me"
    assert found.metadata["name"] == "a"
    assert found.tensors["blocks.1.att.time_state"].to_float32()[0, 0, 0] == np.float32(1.1)


def test_a_tuned_state_is_not_lost_silently(tmp_path):
    tensors = random_model() | {
        f"blocks.{i}.att.time_state": np.ones((3, 20, 20), np.float32) for i in (0, 1)
    }
    source = write_model(tmp_path / "a.safetensors", tensors)
    for destination in ("b.gguf", "folder"):
        with pytest.raises(CheckpointError, match=r"time_state.* holds no initial state; use"):
            run(source, tmp_path / destination)


@pytest.mark.parametrize(
    ("generation", "destination"),
    [("rwkv4", "b.gguf"), ("rwkv5.2", "b.gguf"), ("rwkv4", "folder"), ("rwkv6", "folder")],
)
def test_generations_that_a_format_cannot_hold(tmp_path, generation, destination):
    source = write_model(tmp_path / "a.safetensors", random_model(generation))
    with pytest.raises(CheckpointError, match=r"RWKV-[456].* does not fit format .* RWKV-7; use"):
        run(source, tmp_path / destination)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("destination", ["b.safetensors", "b.gguf", "folder"])
def test_values_that_do_not_fit_float16(tmp_path, destination):
    tensors = random_model()
    tensors["blocks.1.ffn.key.weight"][3, 2] = 1e5
    source = write_model(tmp_path / "a.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"1e\+05 do not fit float16; use b"):
        run(source, tmp_path / destination, "float16")
    run(source, tmp_path / destination, "bfloat16")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.safetensors", destination])


@pytest.mark.parametrize("destination", ["b.safetensors", "b.gguf", "folder", "b.packed"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, destination, value):
    tensors = random_model()
    tensors["blocks.1.ffn.key.weight"][3, 2] = value
    source = write_model(tmp_path / "a.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"ffn\.key\.weight.* not finite"):
        run(source, tmp_path / destination)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_tiny_values_that_float16_loses_are_found_afterwards(tmp_path):
    tensors = random_model()
    tensors["blocks.1.ffn.key.weight"] *= np.float32(1e-9)
    source = write_model(tmp_path / "a.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"ffn\.key\.weight as float16 is off by 1 of"):
        run(source, tmp_path / "b.safetensors", "float16")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_tiny_values_in_blocks_may_have_coarse_scales(tmp_path):
    tensors = random_model(dim=64, head_size=32)
    tensors["emb.weight"] *= np.float32(2e-4)  # as a fresh model has them
    source = write_model(tmp_path / "a.safetensors", tensors)
    line = run(source, tmp_path / "b.gguf", "q8_0")[0]
    assert re.search(r"the largest error is 0\.0\d+ of .*, emb\.weight", line)
    tensors["emb.weight"] *= np.float32(1e-3)
    write_model(source, tensors)
    with pytest.raises(CheckpointError, match=r"emb\.weight as q8_0 is off by"):
        run(source, tmp_path / "b.gguf", "q8_0", force=True)


@pytest.mark.parametrize("destination", ["b.safetensors", "folder"])
def test_what_was_written_wrongly_is_found(tmp_path, destination, monkeypatch):
    def wrong(values, dtype):
        return encode(values * np.float32(1 + 2**-7), dtype)

    source = write_model(tmp_path / "a.safetensors", random_model())
    monkeypatch.setattr("server.convert.precision.encode", wrong)
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(CheckpointError, match=r"is off by 0\.00\d+ of its largest value"):
            run(source, tmp_path / destination, dtype)
        assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_an_adapter_is_merged(tmp_path):
    tensors = random_model()
    source = write_model(tmp_path / "a.safetensors", tensors)
    rng = np.random.default_rng(1)
    adapter = {}
    for name in ("blocks.0.att.key", "blocks.1.att.w1"):
        rows, columns = tensors.get(f"{name}.weight", tensors.get(name)).shape
        adapter[f"{name}.lora_A"] = rng.standard_normal((4, columns), np.float32)
        adapter[f"{name}.lora_B"] = rng.standard_normal((rows, 4), np.float32)
    del adapter["blocks.1.att.w1.lora_A"], adapter["blocks.1.att.w1.lora_B"]
    lora = write_model(tmp_path / "lora.safetensors", adapter)
    merged = tensors["blocks.0.att.key.weight"] + 2 * (
        adapter["blocks.0.att.key.lora_B"] @ adapter["blocks.0.att.key.lora_A"]
    )
    for destination in ("b.safetensors", "b.gguf", "folder"):
        lines = run(source, tmp_path / destination, adapters=[f"{lora}:8"])
        assert "all values are exact" in lines[0]
        found = values_of(tmp_path / destination)["blocks.0.att.key.weight"]
        np.testing.assert_allclose(found, merged, rtol=1e-5, atol=1e-5)
    run(source, tmp_path / "b.packed", "float32", adapters=[f"{lora}:8"])
    with pytest.raises(CheckpointError, match="is what is converted"):
        run(source, lora, adapters=[f"{lora}:8"], force=True)
    with pytest.raises(CheckpointError, match=r"lora\.safetensors.*alpha"):
        run(source, tmp_path / "c.st", adapters=[str(lora)])


@pytest.mark.parametrize(
    ("destination", "dtype", "allowed"),
    [("b.safetensors", "q8_0", "float32, float16, bfloat16"), ("b.gguf", "int8", "f32, f16, bf16"),
     ("b.packed", "float16", "float32, bfloat16, int8, int4"), ("folder", "x", "float32")],
)  # fmt: skip
def test_dtypes_that_a_format_has_not(tmp_path, destination, dtype, allowed):
    source = write_model(tmp_path / "a.safetensors", random_model())
    with pytest.raises(CheckpointError, match=f"--dtype {dtype}: for .* choose one of {allowed}"):
        run(source, tmp_path / destination, dtype)
