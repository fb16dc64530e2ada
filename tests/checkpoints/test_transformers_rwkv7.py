"""RWKV-7 as transformers and its forks name it, and folders of other architectures."""

import json

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.huggingface_export import to_transformers
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model.config import read_config
from tests import naive
from tests.checkpoints.huggingface_exports import (
    DIM,
    FFN,
    HEAD,
    HEADS,
    LAYERS,
    VOCAB,
    official_tensors,
    write_folder,
    write_json,
)
from tests.naive_models import twin

RANK = 32  # of all low-rank pairs of so small a model
CONFIG = {
    "architectures": ["Rwkv7ForCausalLM"],
    "model_type": "rwkv7",
    "num_hidden_layers": LAYERS,
    "hidden_size": DIM,
    "vocab_size": VOCAB,
    "num_heads": HEADS,
    "head_dim": HEAD,
    "decay_low_rank_dim": RANK,
    "a_low_rank_dim": RANK,
    "v_low_rank_dim": RANK,
    "gate_low_rank_dim": RANK,
    "norm_eps": 1e-5,
    "norm_bias": True,
    "use_deep_embed": False,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def v7():
    return official_tensors("v7")


def transformers(official, zeros=True):
    """As its convert_rwkv7_checkpoint_to_hf.py does it: a prefix, and zeros where layer 0 lacks."""
    tensors = {n if n == "head.weight" else f"rwkv7.{n}": v for n, v in official.items()}
    if zeros:
        for name, shape in (("v0", (1, 1, DIM)), ("v1", (DIM, RANK)), ("v2", (RANK, DIM))):
            tensors[f"rwkv7.blocks.0.att.{name}"] = np.zeros(shape, np.float32)
    return tensors


def plain_fork(official):
    return {n if n == "head.weight" else f"model.{n}": v for n, v in official.items()}


def fork_with_embeddings(official):
    return {n.replace("emb.", "embeddings."): v for n, v in plain_fork(official).items()}


def fork_with_linears(official):
    """Low-rank matrices as torch's Linear has them: [outputs, inputs]."""
    tensors = {}
    for name, values in fork_with_embeddings(official).items():
        is_low_rank = name[-1] in "12" and name[-2] in "wavg" and name[-3] == "."
        tensors[f"{name}.weight" if is_low_rank else name] = values.T if is_low_rank else values
    return tensors


def fork_with_long_names(official):
    return {
        name.replace("model.", "rwkv7.")
        .replace(".att.", ".attention.")
        .replace(".ffn.", ".feed_forward.")
        .replace(".ln0.", ".pre_ln."): values
        for name, values in fork_with_embeddings(official).items()
    }


EXPORTS = {
    "transformers": transformers,
    "without layer 0's": lambda official: transformers(official, zeros=False),
    "model.": plain_fork,
    "model.embeddings": fork_with_embeddings,
    "linears": fork_with_linears,
    "long names": fork_with_long_names,
}


def assert_is(path, official):
    checkpoint = open_checkpoint(path)
    read_config(checkpoint)
    unused = {f"blocks.0.att.v{n}" for n in range(3)}
    assert set(checkpoint.tensors) - unused == set(official)
    for name, values in official.items():
        found = checkpoint.tensors[name]
        assert found.shape == values.shape, name
        np.testing.assert_array_equal(found.to_float32(), values, err_msg=name)


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as error:
        read_config(open_checkpoint(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS.keys())
def test_every_export_holds_the_official_tensors(tmp_path, v7, export, shards):
    assert_is(write_folder(tmp_path / "m", export(v7), CONFIG, shards), v7)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"num_heads": 5}, "num_heads is 5, but by the tensors it is 3"),
        ({"num_attention_heads": 5}, "num_attention_heads is 5"),
        ({"head_size": 64}, "head_size is 64"),
        ({"decay_low_rank_dim": 96}, "decay_low_rank_dim is 96, but by the tensors it is 32"),
        ({"a_low_rank_dim": 96}, "a_low_rank_dim is 96"),
        ({"v_low_rank_dim": 96}, "v_low_rank_dim is 96"),
        ({"gate_low_rank_dim": 96}, "gate_low_rank_dim is 96"),
        ({"intermediate_size": FFN}, "intermediate_size is 20"),
        ({"use_deep_embed": True}, "use_deep_embed is True; only False"),
        ({"group_norm_epsilon": 1e-5}, "group_norm_epsilon is 1e-05; only 0.00064"),
        ({"embedding_layer_norm_fused": True}, "embedding_layer_norm_fused, but ln0 is among the"),
        ({"embedding_layer_norm_fused": 1}, "embedding_layer_norm_fused is 1, not true or false"),
    ],
)
def test_a_config_of_another_variant(tmp_path, v7, lie, match):
    folder = write_folder(tmp_path / "m", transformers(v7), CONFIG | lie)
    assert "config.json" in refused(folder, match)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "LlamaForCausalLM is not"),
        ({"model_type": "qwen2"}, "model_type qwen2 is not RWKV"),
        ({"architectures": ["BertModel"]}, "BertModel is not RWKV"),
        ({"architectures": ["RwkvHybridForCausalLM"]}, "RwkvHybridForCausalLM: a model of another"),
        ({"architectures": ["RWKV6Qwen2ForCausalLM"]}, "RWKV6Qwen2ForCausalLM: a model of another"),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_another_architecture_is_named(tmp_path, config, match, shards):
    tensors = {
        f"model.layers.{layer}.self_attn.{part}_proj.weight": np.zeros((4, 4), np.float32)
        for layer in range(2)
        for part in "qkvo"
    }
    tensors |= {"model.embed_tokens.weight": np.zeros((9, 4), np.float32)}
    tensors |= {"model.norm.weight": np.zeros(4, np.float32)}
    config = {"hidden_size": 99, "vocab_size": 1} | config
    folder = write_folder(tmp_path / "m", tensors, config, shards)
    assert "another model" not in refused(folder, match)
    if shards == 1:
        refused(folder / "model.safetensors", match)
        (folder / "model.safetensors").write_bytes(b"")
        refused(folder, match)  # whatever its weights are


def test_a_head_that_is_not_the_embedding(tmp_path, v7):
    config = CONFIG | {"tie_word_embeddings": True}
    folder = write_folder(tmp_path / "m", transformers(v7), config)
    refused(folder, "tie_word_embeddings, but tensor head.weight is not the embedding")
    tied = v7 | {"head.weight": v7["emb.weight"]}
    assert_is(write_folder(tmp_path / "n", transformers(tied), config), tied)


@pytest.mark.parametrize("layers", [1, 2])
def test_writing_what_transformers_loads(tmp_path, v7, layers):
    path = tmp_path / "official.safetensors"
    official = {n: v for n, v in v7.items() if layers == 2 or not n.startswith("blocks.1.")}
    write_safetensors(path, {n: ("float32", v) for n, v in official.items()})
    tensors, config = to_transformers(open_checkpoint(path))
    expected = transformers(official)
    assert {n: t.shape for n, t in tensors.items()} == {n: v.shape for n, v in expected.items()}
    for name, values in expected.items():
        assert tensors[name].name == name
        np.testing.assert_array_equal(tensors[name].to_float32(), values)
    wanted = CONFIG | {"num_hidden_layers": layers}
    assert {key: config[key] for key in wanted} == wanted
    json.dumps(config)


def test_mixed_and_missing_parts(tmp_path, v7):
    folder = write_folder(tmp_path / "m", transformers(v7), CONFIG, shards=3)
    shard = sorted(folder.glob("model-*"))[1]
    shard.unlink()
    refused(folder, f"{shard.name}: missing, but model.safetensors.index.json names it")
    mixed = transformers(v7) | {"model.blocks.1.att.w0": v7["blocks.1.att.w0"]}
    del mixed["rwkv7.blocks.1.att.w0"]
    refused(write_folder(tmp_path / "n", mixed, CONFIG), "named by two exporters: a mixture")
    short = transformers(v7) | {"rwkv7.emb.weight": v7["emb.weight"][:-1]}
    refused(write_folder(tmp_path / "o", short), r"tensor head\.weight has shape \[17, 12\]")
    write_json(tmp_path / "o" / "config.json", CONFIG)
    refused(tmp_path / "o", r"config\.json: vocab_size is 17, but by the tensors it is 16")


def folded(official):
    """As fuse_embedding_layer_norm does it: normed rows, and no ln0."""
    weight, bias = (official[f"blocks.0.ln0.{part}"] for part in ("weight", "bias"))
    table = official["emb.weight"].astype(np.float64)
    rows = np.stack([naive.layer_norm(row, weight, bias, 1e-5) for row in table])
    kept = {name: values for name, values in official.items() if ".ln0." not in name}
    return fork_with_embeddings(kept | {"emb.weight": rows.astype(np.float32)})


@pytest.mark.parametrize("tied", [False, True])
def test_an_embedding_with_ln0_folded_in_computes_the_same(tmp_path, v7, tied):
    config = CONFIG | {"embedding_layer_norm_fused": True}
    exported = folded(v7)
    if tied:  # the head is what is stored, not what it is made of
        config, exported = config | {"tie_word_embeddings": True}, dict(exported)
        del exported["head.weight"]
        v7 = v7 | {"head.weight": exported["model.embeddings.weight"]}
    found = open_checkpoint(write_folder(tmp_path / "m", exported, config, shards=2))
    read_config(found)
    tensors = {name: tensor.to_float32() for name, tensor in found.tensors.items()}
    assert set(tensors) == set(v7)
    rows = slice(3, 7)
    np.testing.assert_array_equal(
        found.tensors["emb.weight"].to_float32(rows), tensors["emb.weight"][rows]
    )
    prompt = [1, 5, 16, 0, 3]
    expected, logits = twin(v7).read(prompt), twin(tensors).read(prompt)
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_a_folded_embedding_needs_evidence(tmp_path, v7):
    folder = write_folder(tmp_path / "m", folded(v7), CONFIG)
    message = refused(folder, r"blocks\.0\.ln0\.weight is missing, and embedding_layer_norm_fused")
    assert "config.json" in message
    refused(
        write_folder(tmp_path / "n", folded(v7), None) / "model.safetensors", "ln0.* is missing"
    )
