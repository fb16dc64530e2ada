"""Files of EmbeddingRWKV: what they may be called and hold, and what is wrong with others."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config
from server.model.open_parts import open_parts
from server.model.reranker_file import open_reranker
from tests.model.embedding_models import embedding_tensors, reranker_tensors, write_pth
from tests.model.random_models import random_tensors, write_model

MODEL, RERANKER = embedding_tensors(), reranker_tensors()


def opened(path, reranker_path):
    config = read_config(open_checkpoint(path))
    return open_reranker(reranker_path, config, path)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return write_pth(tmp_path_factory.mktemp("model") / "emb.pth", MODEL)


def renamed(tensors, change):
    return {change(name): values for name, values in tensors.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: f"model.{name}",
        lambda name: f"_forward_module.module.{name}",
        lambda name: name.removeprefix("rwkv."),
    ],
)
@pytest.mark.parametrize("write", [write_pth, write_model])
def test_names_of_released_files_and_of_trainers(tmp_path, change, write):
    config = read_config(open_checkpoint(write(tmp_path / "m", renamed(MODEL, change))))
    assert (config.generation, config.title) == ("rwkv7-embedding", "RWKV-7 embedding model")
    assert (config.layers, config.dim, config.vocab_size) == (3, 128, 65536)
    assert not config.writes_text
    ours = {n: v for n, v in MODEL.items() if not n.startswith(("vit.", "proj."))}
    del ours["rwkv.head.weight"]  # what once predicted text is not read
    assert config.parameters == sum(values.size for values in ours.values())


@pytest.mark.parametrize("name", [n for n in MODEL if n.startswith("head.")])
def test_every_tensor_of_a_head_is_needed_in_its_shape(tmp_path, name):
    tensors = {n: v for n, v in MODEL.items() if n != name}
    with pytest.raises(CheckpointError, match=rf"m\.pth: tensor {name} is missing"):
        read_config(open_checkpoint(write_pth(tmp_path / "m.pth", tensors)))
    tensors[name] = np.ones((5, *MODEL[name].shape[1:]), np.float32)
    with pytest.raises(CheckpointError, match=rf"tensor {name} has shape .*, expected "):
        read_config(open_checkpoint(write_pth(tmp_path / "m.pth", tensors)))


def test_a_vocabulary_without_the_token_that_ends_inputs(tmp_path):
    tensors = MODEL | {"rwkv.emb.weight": np.ones((65535, 128), np.float32)}
    with pytest.raises(CheckpointError, match=r"emb\.weight has 65535 rows, but token 65535 ends"):
        read_config(open_checkpoint(write_pth(tmp_path / "m.pth", tensors)))


def test_what_belongs_to_no_embedding_model(tmp_path):
    tensors = MODEL | {"rwkv.blocks.0.att.extra": np.ones(128, np.float32)}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.att\.extra is not part of RWKV-7 emb"):
        read_config(open_checkpoint(write_pth(tmp_path / "m.pth", tensors)))
    tensors = MODEL | {"lm.weight": np.ones(128, np.float32)}
    with pytest.raises(CheckpointError, match=r"lm\.weight: is not part of an embedding model"):
        open_checkpoint(write_pth(tmp_path / "m.pth", tensors))


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize(
    ("entries", "layers"),
    [({}, [0, 1, 2]), ({"reranker_layer_idx": [2, 0, -2]}, [2, 0, 1])],
)
def test_layers_that_a_reranker_reads(tmp_path, model_path, prefix, entries, layers):
    path = write_pth(tmp_path / "r.pth", renamed(RERANKER, lambda n: prefix + n), **entries)
    found = opened(model_path, path)
    assert found.layers == layers
    assert (found.config.generation, found.config.layers) == ("rwkv7-reranker", 3)


def test_a_trainers_file_has_the_model_beside_the_reranker(tmp_path, model_path):
    rwkv = {name: values for name, values in MODEL.items() if name.startswith("rwkv.")}
    assert opened(model_path, write_pth(tmp_path / "r.pth", rwkv | RERANKER)).config.layers == 3


PAIRS = {
    "blocks.0.att.r_k has shape .1, 64., but that of .* not a pair": (
        reranker_tensors(dim=64),
        {},
    ),
    r"tensor blocks\.3\.att\.r_k reads layer 3, but .*emb\.pth has 3 layers": (
        reranker_tensors(layers=4),
        {},
    ),
    r"tensor blocks\.1\.att\.r_k reads layer -4, but": (
        RERANKER,
        {"reranker_layer_idx": [0, -4, 1]},
    ),
    "reranker_layer_idx names 2 layers, but the reranker has 3": (
        RERANKER,
        {"reranker_layer_idx": [0, 1]},
    ),
    "not a reranker": (MODEL, {}),
    r"tensor head\.2\.weight is missing": (
        {n: v for n, v in RERANKER.items() if n != "reranker.head.2.weight"},
        {},
    ),
    r"tensor blocks\.2\.ffn\.value\.weight has shape \[3, 3\], expected": (
        RERANKER | {"reranker.blocks.2.ffn.value.weight": np.ones((3, 3), np.float32)},
        {},
    ),
}


@pytest.mark.parametrize("match", PAIRS)
def test_bad_pairs_are_named_in_a_line(tmp_path, model_path, match):
    tensors, entries = PAIRS[match]
    path = write_pth(tmp_path / "r.pth", tensors, **entries)
    with pytest.raises(CheckpointError, match=match) as error:
        opened(model_path, path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layers", [["a"], [0.5], "0,1,2", [True, 0, 1], [1 << 40, 0, 1], {}])
def test_layers_that_are_no_list_of_numbers(tmp_path, layers):
    path = write_pth(tmp_path / "r.pth", RERANKER, reranker_layer_idx=layers)
    with pytest.raises(CheckpointError, match="entry reranker_layer_idx is not a tensor"):
        open_checkpoint(path)


def test_a_reranker_needs_an_embedding_model(tmp_path):
    reranker = write_pth(tmp_path / "r.pth", RERANKER)
    with pytest.raises(CheckpointError, match=r"a reranker, not a model: .*--reranker FILE"):
        open_parts(reranker, [], {})
    model = write_model(tmp_path / "m.safetensors", random_tensors(layers=1))
    with pytest.raises(CheckpointError, match=r"r\.pth: a reranker scores the states of an emb"):
        opened(model, reranker)
