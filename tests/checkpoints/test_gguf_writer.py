"""GGUF files that we write: read back, with the package's reader, and with llama.cpp's rules."""

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.constants import MODEL_ARCH, MODEL_TENSORS, TENSOR_NAMES

from server.checkpoints.checkpoint import (
    CheckpointError,
    bfloat16_to_float32,
    float32_to_bfloat16,
)
from server.checkpoints.gguf_names import ARCHITECTURES, FUSED, MODEL
from server.checkpoints.gguf_vocabulary import read_gguf_vocabulary
from server.checkpoints.gguf_writer import DTYPES, write_gguf
from server.checkpoints.reader import open_checkpoint
from tests.checkpoints.official_models import (
    DIM,
    FFN,
    HEAD_SIZE,
    LAYERS,
    VOCAB,
    assert_same,
    checkpoint_of,
    random_model,
)


def written(tmp_path, model, *args, **options):
    path = tmp_path / "m.gguf"
    write_gguf(path, checkpoint_of(tmp_path / "source.pth", model), *args, **options)
    return path


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("generation", ["6", "7"])
def test_values_that_fit_come_back_exactly(tmp_path, generation, dtype):
    model = random_model(generation)
    for name, array in model.items():
        if dtype == "f16":
            model[name] = array.astype(np.float16).astype(np.float32)
        elif dtype == "bf16":
            model[name] = bfloat16_to_float32(float32_to_bfloat16(array))
    checkpoint = open_checkpoint(written(tmp_path, model, dtype))
    assert_same(checkpoint, model)
    matrices = {name for name in model if name.endswith(("key.weight", "emb.weight"))}
    assert {checkpoint.tensors[name].dtype for name in matrices} == {DTYPES[dtype][0]}


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.startswith("q")])
@pytest.mark.parametrize("generation", ["6", "7"])
def test_only_matrices_are_quantised(tmp_path, generation, dtype):
    model = random_model(generation)
    checkpoint = open_checkpoint(written(tmp_path, model, dtype))
    assert_same(checkpoint, model, atol=0.02 if dtype == "q8_0" else 0.4, rtol=1e-3)
    quantised = {name for name, tensor in checkpoint.tensors.items() if tensor.dtype == dtype}
    assert quantised == {
        name for name, array in model.items() if name.endswith(".weight") and array.ndim == 2
    }
    others = {checkpoint.tensors[name].dtype for name in set(model) - quantised}
    assert others <= {"float32", "float16"}


def test_rows_that_no_blocks_make_stay_half(tmp_path):
    model = random_model("7")
    for layer in range(LAYERS):
        for side, shape in (("key", (48, DIM)), ("value", (DIM, 48))):
            model[f"blocks.{layer}.ffn.{side}.weight"] = np.ones(shape, np.float32)
    checkpoint = open_checkpoint(written(tmp_path, model, "q8_0"))
    assert checkpoint.tensors["blocks.1.ffn.value.weight"].dtype == "float16"
    assert checkpoint.tensors["blocks.1.ffn.key.weight"].dtype == "q8_0"


def test_large_matrices_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("server.checkpoints.gguf_writer.PIECE_VALUES", 3 * DIM)
    model, seen = random_model("7"), []
    path = written(tmp_path, model, "q8_0", progress=lambda *done: seen.append(done))
    pieced = path.read_bytes()
    monkeypatch.undo()
    assert written(tmp_path, model, "q8_0").read_bytes() == pieced
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


NE = {
    "7": {
        "time_mix_lerp_fused": [DIM, 1, 1, 6],
        "time_mix_w1": [DIM, 8],
        "time_mix_w2": [8, DIM],
        "time_mix_a1": [DIM, 6],
        "time_mix_v2": [4, DIM],
        "time_mix_g1": [DIM, 10],
        "time_mix_r_k": [DIM],
        "time_mix_k_a": [DIM],
        "channel_mix_lerp_k": [DIM],
    },
    "6": {
        "time_mix_lerp_fused": [DIM, 1, 1, 5],
        "time_mix_lerp_x": [DIM],
        "time_mix_w1": [DIM, 40],
        "time_mix_w2": [8, DIM, 5],
        "time_mix_decay": [DIM],
        "time_mix_decay_w1": [DIM, 12],
        "time_mix_decay_w2": [12, DIM],
        "time_mix_first": [HEAD_SIZE, DIM // HEAD_SIZE],
        "channel_mix_lerp_r": [DIM],
        "channel_mix_receptance": [DIM, DIM],
    },
}
"""Shapes that llama.cpp asks for in layer 1, innermost dimension first."""


@pytest.mark.parametrize("generation", ["6", "7"])
def test_names_and_sizes_are_those_of_llama_cpp(tmp_path, generation):
    model = random_model(generation, layers=3)
    path = written(tmp_path, model, "f16", name="tiny")
    reader = GGUFReader(path)
    arch = f"rwkv{generation}"
    known = {TENSOR_NAMES[kind] for kind in MODEL_TENSORS[MODEL_ARCH[arch.upper()]]}
    names = {tensor.name for tensor in reader.tensors}
    for name in names:
        layer = name.split(".")[1] if name.startswith("blk.") else ""
        pattern = name.replace(f"blk.{layer}.", "blk.{bid}.").rsplit(".", 1)
        assert pattern[0] in known
        assert pattern[1] in ("weight", "bias")
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    for name, ne in (NE[generation] | {"channel_mix_value": [FFN, DIM]}).items():
        assert shapes[f"blk.1.{name}.weight"] == ne, name
    if generation == "7":  # which llama.cpp wants of layer 0, too, as large as the a of it
        assert shapes["blk.0.time_mix_v1.weight"] == shapes["blk.0.time_mix_a1.weight"]

    def value(key):
        return reader.fields[key].contents()

    assert value("general.architecture") == arch
    assert value("general.name") == "tiny"
    assert value("general.file_type") == 1
    assert value(f"{arch}.block_count") == 3
    assert value(f"{arch}.embedding_length") == DIM
    assert value(f"{arch}.feed_forward_length") == FFN
    assert value(f"{arch}.wkv.head_size") == HEAD_SIZE
    assert value(f"{arch}.vocab_size") == VOCAB
    assert value("tokenizer.ggml.model") == "no_vocab"
    ranks = {
        "7": {
            "attention.decay_lora_rank": 8,
            "attention.iclr_lora_rank": 6,
            "attention.value_residual_mix_lora_rank": 4,
            "attention.gate_lora_rank": 10,
        },
        "6": {"time_mix_extra_dim": 8, "time_decay_extra_dim": 12, "rescale_every_n_layers": 0},
    }
    for key, size in ranks[generation].items():
        assert value(f"{arch}.{key}") == size


def test_model_of_one_layer(tmp_path):
    model = random_model("7", layers=1)
    assert_same(open_checkpoint(written(tmp_path, model, "f32")), model)


def test_vocabulary_and_template(tmp_path):
    tokens = [b"", b"\0\xff\\", b" a", b"'\"", "é".encode(), b"\n\n"]
    model = random_model("7")
    path = written(tmp_path, model, vocabulary=tokens, chat_template="{{ messages }}")
    assert read_gguf_vocabulary(path) == tokens + [b""] * (VOCAB - len(tokens))
    assert open_checkpoint(path).metadata == {"chat_template": "{{ messages }}"}
    fields = GGUFReader(path).fields
    stored = fields["tokenizer.ggml.tokens"].contents()
    assert stored[:3] == ["<s>", "\\x00\\xff\\\\", " a"]
    assert stored[-1] == f"[PAD{VOCAB - 1}]"
    assert fields["tokenizer.ggml.token_type"].contents()[:2] == [3, 1]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 0


def test_table_has_every_name_once():
    for architecture in ARCHITECTURES.values():
        entries = (*architecture.layer, *architecture.separate)
        assert len({e.gguf for e in entries} | {FUSED}) == len(entries) + 1
        official = [e.official for e in architecture.layer] + list(architecture.fused)
        assert len(set(official)) == len(official)
    assert len({entry.gguf for entry in MODEL}) == len(MODEL)


def without(model, name):
    return {n: array for n, array in model.items() if n != name}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: without(m, "blocks.1.att.w1"), r"blocks\.1\.att\.w1: is missing"),
        (lambda m: without(m, "emb.weight"), "emb.weight: is missing"),
        (lambda m: without(m, "blocks.1.att.x_g"), "x_g: is missing"),
        (lambda m: without(m, "blocks.0.att.r_k"), "neither RWKV-6 nor RWKV-7"),
        (lambda m: m | {"extra": np.ones(3, np.float32)}, "extra: is not part of rwkv7"),
        (lambda m: m | {"blocks.0.att.w1": np.ones(3, np.float32)}, "wants a matrix"),
        (lambda m: m | {"blocks.0.att.r_k": np.ones(DIM, np.float32)}, "more dimensions"),
        (lambda m: m | {"blocks.1.att.x_g": np.ones(3, np.float32)}, "unequal shape"),
        (lambda m: m | {"emb.weight": np.full((VOCAB, DIM), 1e6, np.float32)}, "use bf16"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, match):
    model = change(random_model("7"))
    with pytest.raises(CheckpointError, match=match) as error:
        written(tmp_path, model, "f16")
    assert "source.pth" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(tmp_path):
    model = random_model("7")
    with pytest.raises(ValueError, match="choose one of f32, f16"):
        written(tmp_path, model, "q4_k")
    with pytest.raises(CheckpointError, match="vocabulary of 41 for a model of 40"):
        written(tmp_path, model, vocabulary=[b"x"] * 41)
    with pytest.raises(FileNotFoundError):
        write_gguf(tmp_path / "no" / "m.gguf", checkpoint_of(tmp_path, model))
    assert list(tmp_path.iterdir()) == []
