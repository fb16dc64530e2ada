import os

import msgspec
import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.model.initialize import design, initialize
from server.protocol.messages import ModelSpec
from server.registry.served_model import open_model, stamp_files
from tests.model.embedding_models import embedding_tensors, reranker_tensors, write_pth
from tests.model.random_models import write_model


@pytest.fixture
def spec(tmp_path):
    config = design("rwkv7", 1, 16, 256, 16)
    path = write_model(tmp_path / "tiny.safetensors", dict(initialize(config, 0)))
    state = np.ones((1, 16, 16), np.float32)
    write_model(tmp_path / "poet.pth", {"blocks.0.att.time_state": state})
    write_lora(tmp_path / "style.pth", 1)
    return ModelSpec(
        id="org/tiny",
        path=str(path),
        states={"poet": str(tmp_path / "poet.pth")},
        adapters=[f"{tmp_path}/style.pth:0.5"],
    )


def write_lora(path, value):
    pair = {"A": np.ones((2, 16), np.float32), "B": np.full((16, 2), value, np.float32)}
    write_model(path, {f"blocks.0.att.key.lora_{side}": values for side, values in pair.items()})


def test_all_but_the_weights_is_read(spec):
    served = open_model(spec)
    assert (served.spec, served.generation) == (spec, "rwkv7")
    assert served.tokenizer.encode("a") == [97]
    assert served.created > 0
    assert served.parameters > 0


def test_the_fingerprint_tells_what_changes_the_output(spec, tmp_path):
    prints = [open_model(spec).system_fingerprint, open_model(spec).system_fingerprint]
    assert prints[0] == prints[1]
    changes = [{"dtype": "int8"}, {"adapters": [f"{tmp_path}/style.pth:0.6"]}, {"states": {}}]
    prints += [
        open_model(msgspec.structs.replace(spec, **change)).system_fingerprint for change in changes
    ]
    write_lora(tmp_path / "style.pth", 2)
    prints.append(open_model(spec).system_fingerprint)
    assert len(set(prints)) == 5


@pytest.mark.parametrize("part", ["poet.pth", "style.pth"])
def test_a_part_that_is_not_there_is_one_line(spec, tmp_path, part):
    (tmp_path / part).unlink()
    with pytest.raises(CheckpointError, match=f"{part}: no such file") as caught:
        open_model(spec)
    assert "org/tiny" in str(caught.value)


@pytest.mark.parametrize(
    "changed", ["tiny.safetensors", "poet.pth", "style.pth", "tokenizer_config.json"]
)
def test_the_stamp_changes_with_every_file(spec, tmp_path, changed):
    before = stamp_files(spec)
    assert stamp_files(spec) == before == open_model(spec).stamp
    path = tmp_path / changed
    path.write_bytes((path.read_bytes() if path.exists() else b"{}") + b" ")
    assert stamp_files(spec) != before


def test_the_stamp_of_a_folder_is_that_of_its_files(spec, tmp_path):
    folder = msgspec.structs.replace(spec, path=str(tmp_path))
    before = stamp_files(folder)
    os.utime(tmp_path / "tiny.safetensors", ns=(1, 1))
    assert stamp_files(folder) != before


@pytest.fixture
def pair(tmp_path):
    """An embedding model and its reranker."""
    path = write_pth(tmp_path / "emb.pth", embedding_tensors(layers=1))
    reranker = write_pth(tmp_path / "reranker.pth", reranker_tensors(layers=1))
    return ModelSpec(id="emb", path=str(path), reranker=str(reranker), reasoning="on")


def test_an_embedding_model_and_its_reranker(pair):
    served = open_model(pair)
    assert (served.embeds, served.reranks, served.end_token) == (True, True, 65535)
    assert served.reasoning == "off"
    assert not served.fills_middle
    assert served.tokenizer.vocab_size == 65536
    assert served.tokenizer.encode("<|rwkv_embedding_end_of_input|>")[-1] != 65535
    alone = open_model(msgspec.structs.replace(pair, reranker=""))
    assert (alone.embeds, alone.reranks) == (True, False)
    assert alone.system_fingerprint != served.system_fingerprint


def test_the_reranker_is_one_of_the_models_files(pair, tmp_path):
    before = stamp_files(pair)
    prints = [open_model(pair).system_fingerprint]
    write_pth(tmp_path / "reranker.pth", reranker_tensors(layers=1, seed=3))
    assert stamp_files(pair) != before
    prints.append(open_model(pair).system_fingerprint)
    assert len(set(prints)) == 2
    (tmp_path / "reranker.pth").unlink()
    with pytest.raises(CheckpointError, match=r"reranker\.pth: no such file, named as reranker of"):
        open_model(pair)
