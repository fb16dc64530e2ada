"""Hugging Face folders hold the official tensors, whatever the exporter called them."""

import json
import os
import shutil

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError, float32_to_bfloat16
from server.checkpoints.locate import locate
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import load_weights
from server.model.packed_file import fingerprint
from tests.checkpoints.huggingface_exports import (
    DIM,
    FFN,
    LAYERS,
    VOCAB,
    fla6,
    fla7,
    official_tensors,
    transformers,
    write_folder,
    write_json,
)
from tests.checkpoints.torch_files import write_pth

CONFIG = {"num_hidden_layers": LAYERS, "hidden_size": DIM, "vocab_size": VOCAB}
SCHEMES = {
    "fla v7": ("v7", fla7),
    "fla v6": ("v6", fla6),
    "transformers v4": ("v4", transformers),
    "transformers v5.2": ("v5.2", transformers),
    "transformers v6": ("v6", transformers),
    "official v7": ("v7", dict),
}


@pytest.fixture
def v7():
    return official_tensors("v7")


def assert_holds(checkpoint, official):
    assert set(checkpoint.tensors) == set(official)
    for name, expected in official.items():
        tensor = checkpoint.tensors[name]
        found = tensor.to_float32()
        assert tensor.name == name
        assert tensor.shape == expected.shape, name
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected, err_msg=name)
        last = slice(expected.shape[0] - 1, None)
        np.testing.assert_array_equal(tensor.to_float32(last), expected[last], err_msg=name)
        tensor.forget()


def refused(folder, match):
    with pytest.raises(CheckpointError, match=match) as error:
        read_config(open_checkpoint(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_names_shapes_and_values_are_the_official_ones(tmp_path, scheme, shards):
    generation, export = SCHEMES[scheme]
    official = official_tensors(generation)
    folder = write_folder(tmp_path / "m", export(official), CONFIG, shards)
    checkpoint = open_checkpoint(folder)
    assert_holds(checkpoint, official)
    assert checkpoint.path == folder
    assert len(checkpoint.files) == (2 if shards == 1 else shards + 2)


def test_a_single_file_is_enough(tmp_path, v7):
    folder = write_folder(tmp_path / "m", fla7(v7), config=None)
    assert_holds(open_checkpoint(folder / "model.safetensors"), v7)
    write_json(folder / "config.json", {"hidden_size": 99})
    refused(folder / "model.safetensors", r"config\.json: hidden_size is 99")


def test_pickled_weights_and_shards_of_them(tmp_path, v7):
    exported = {name: ("float32", np.ascontiguousarray(v)) for name, v in fla7(v7).items()}
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    for folder in (whole, sharded):
        folder.mkdir()
        write_json(folder / "config.json", CONFIG)
    write_pth(whole / "pytorch_model.bin", exported)
    assert_holds(open_checkpoint(whole), v7)
    names = sorted(exported)
    weight_map = {}
    for number in range(2):
        file = f"pytorch_model-{number}.bin"
        write_pth(sharded / file, {name: exported[name] for name in names[number::2]})
        weight_map |= dict.fromkeys(names[number::2], file)
    write_json(sharded / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    assert_holds(open_checkpoint(sharded), v7)


def test_the_first_layout_of_fla(tmp_path, v7):
    exported = fla7(v7)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}.attn.x_"
        mixes = [exported.pop(prefix + kind).reshape(-1) for kind in "rwkvag"]
        exported[f"{prefix}x"] = np.stack(mixes)
    assert_holds(open_checkpoint(write_folder(tmp_path / "m", exported)), v7)
    for name, tensor in open_checkpoint(tmp_path / "m").tensors.items():
        span = slice(tensor.offset, tensor.offset + tensor.nbytes)
        stored = np.frombuffer(tensor.mapped[span], np.float32)
        # In any order: a transposed view covers the same bytes.
        np.testing.assert_array_equal(np.sort(stored), np.sort(v7[name], axis=None))
    exported["model.layers.0.attn.x_r"] = np.zeros(DIM, np.float32)
    refused(write_folder(tmp_path / "n", exported), r"att\.x_r is there under two names")


def test_a_tied_head_is_the_embedding(tmp_path, v7):
    exported = fla7(v7)
    del exported["lm_head.weight"]
    folder = write_folder(tmp_path / "m", exported, CONFIG)
    refused(folder, r"head\.weight is missing")
    write_json(folder / "config.json", {**CONFIG, "tie_word_embeddings": True})
    assert_holds(open_checkpoint(folder), v7 | {"head.weight": v7["emb.weight"]})


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, but by the tensors it is 2"),
        ({"hidden_size": 64}, "hidden_size is 64"),
        ({"hidden_size": "12"}, "hidden_size is 12"),
        ({"vocab_size": 65536}, "vocab_size is 65536"),
        ({"intermediate_size": FFN}, "intermediate_size is 20"),
        ({"head_dim": 64}, "head_dim is 64"),
        ({"norm_eps": 1e-6}, "norm_eps is 1e-06; only 1e-05"),
        ({"attn": {"layers": [1]}}, "attn is .*; only null"),
        ({"hidden_act": "relu\n"}, "hidden_act is relu.; only sqrelu"),
    ],
)
def test_a_config_that_lies(tmp_path, v7, lie, match):
    folder = write_folder(tmp_path / "m", fla7(v7), CONFIG)
    read_config(open_checkpoint(folder))
    write_json(folder / "config.json", {**CONFIG, **lie})
    refused(folder, r"config\.json: " + match)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_broken_config_or_index(tmp_path, v7, content):
    folder = write_folder(tmp_path / "m", fla7(v7), CONFIG, shards=2)
    for name in ("config.json", "model.safetensors.index.json"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        refused(folder, name)
        (folder / name).write_bytes(before)


def test_shards_that_do_not_fit_their_index(tmp_path, v7):
    folder = write_folder(tmp_path / "m", fla7(v7), CONFIG, shards=2)
    first, second = sorted(folder.glob("model-*"))
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())["weight_map"]
    content = second.read_bytes()

    second.write_bytes(content[:-4])
    refused(folder, "00002-of-00002.*past the end of the file")
    second.unlink()
    refused(folder, "00002-of-00002.*missing")
    shutil.copy(first, second)
    refused(folder, "00002-of-00002.*is in another shard as well")
    second.write_bytes(content)
    write_json(index, {"weight_map": good | {"model.more": second.name}})
    refused(folder, r"00002-of-00002.*model\.more is missing")
    write_json(index, {"weight_map": good | {"lm_head.weight": second.name}})
    refused(folder, r"lm_head\.weight should be in")
    for hostile in ("../x.safetensors", "/etc/passwd", "..", "", 3, None, "a\\b", "sub/x"):
        write_json(index, {"weight_map": good | {"lm_head.weight": hostile}})
        refused(folder, "must be the name of a file in the same folder")
    for broken in ({}, {"weight_map": []}, {"weight_map": {}}):
        write_json(index, broken)
        refused(folder, "weight_map must name a file")


def test_links_out_of_the_folder_are_what_the_hub_makes(tmp_path, v7):
    repository = tmp_path / "models--me--tiny-7"
    repository.mkdir()
    blobs = write_folder(repository / "blobs", fla7(v7), CONFIG, shards=2)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(blob)
    files = locate(str(snapshot))
    assert (files.name, files.checkpoint) == ("tiny-7", snapshot)
    assert_holds(open_checkpoint(files.checkpoint), v7)


def test_wrong_shapes_and_strangers_are_refused_by_name(tmp_path, v7):
    stranger = fla7(v7) | {"model.layers.0.attn.q_proj.weight": np.zeros((DIM, DIM), np.float32)}
    refused(write_folder(tmp_path / "a", stranger), r"attn\.q_proj\.weight is not part of RWKV-7")
    for number, (name, shape, official) in enumerate(
        [
            ("attn.w_lora.lora.0.weight", (DIM,), r"att\.w1"),
            ("attn.k_k", (DIM, 1), r"att\.k_k"),
            ("attn.x_x", (5, DIM), r"att\.x_"),
        ]
    ):
        wrong = fla7(v7) | {f"model.layers.0.{name}": np.zeros(shape, np.float32)}
        refused(write_folder(tmp_path / str(number), wrong), official)
    refused(tmp_path, "a directory without")


def test_locating_a_folder(tmp_path, v7):
    folder = write_folder(tmp_path / "tiny", fla7(v7), CONFIG, shards=2)
    assert (locate(str(folder)).name, locate(str(folder)).checkpoint) == ("tiny", folder)
    (folder / "rwkv_vocab_v20230424.txt").write_text("1 '\\x00' 1\n")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    found = locate(str(folder))
    assert found.tokenizer == str(folder / "rwkv_vocab_v20230424.txt")
    assert found.chat_template == "x"
    (folder / "tokenizer.json").write_text("{}")
    assert locate(str(folder)).tokenizer == str(folder / "tokenizer.json")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_packed_weights_are_those_of_the_official_file(tmp_path, v7, dtype):
    def write_stored(name, tensors):
        def bits(values):
            values = np.ascontiguousarray(values)
            if dtype == "bfloat16":
                return float32_to_bfloat16(values)
            return values.astype(dtype)

        path = tmp_path / f"{name}.safetensors"
        write_safetensors(path, {n: (dtype, bits(values)) for n, values in tensors.items()})
        return path

    def packed(path):
        checkpoint = open_checkpoint(path)
        weights = load_weights(
            checkpoint, read_config(checkpoint), "bfloat16", Team(1), None, lambda *_: None
        )
        arrays = [part if isinstance(part, tuple) else (part,) for part in weights]
        return b"".join(array.tobytes() for part in arrays for array in part)

    for values in open_checkpoint(write_stored("fla", fla7(v7))).tensors.values():
        assert values.to_float32().flags.c_contiguous
    assert packed(write_stored("fla", fla7(v7))) == packed(write_stored("official", v7))


def test_modification_and_fingerprint_are_those_of_all_files(tmp_path, v7):
    folder = write_folder(tmp_path / "m", fla7(v7), CONFIG, shards=2)
    before = fingerprint(open_checkpoint(folder))
    for number, file in enumerate(open_checkpoint(folder).files):
        os.utime(file, ns=(0, 1000 + number))
    assert open_checkpoint(folder).modified_ns == 1003
    v7["blocks.1.ffn.value.weight"] = v7["blocks.1.ffn.value.weight"] + 1
    write_folder(folder, fla7(v7), CONFIG, shards=2)
    assert fingerprint(open_checkpoint(folder)) != before
