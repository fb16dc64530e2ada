"""Values of the channels of heads may come in any shape; the size of a head is never guessed."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config
from tests.checkpoints.ai00_files import converted, halves, write_st
from tests.checkpoints.huggingface_exports import fla7, official_tensors, write_folder, write_json
from tests.checkpoints.official_models import DIM, HEAD_SIZE, HEADS, assert_same, random_model
from tests.checkpoints.torch_files import write_pth
from tests.model.random_models import random_tensors, write_model

OF_HEADS = {"5.2": ("time_decay", "time_faaaa"), "6": ("time_faaaa",), "7": ("r_k",)}
FLAT = {
    "flat": (DIM,),
    "row": (1, 1, DIM),
    "column": (DIM, 1),
    "deep": (1, DIM, 1, 1),
}
PAIRS = {
    "first": (1, HEADS, HEAD_SIZE),
    "middle": (HEADS, 1, HEAD_SIZE),
    "last": (HEADS, HEAD_SIZE, 1),
    "around": (1, 1, HEADS, 1, HEAD_SIZE),
}
CONTAINERS = {
    "pth": lambda path, arrays: write_pth(path, {n: ("float32", v) for n, v in arrays.items()}),
    "st": write_st,
}


def is_of_heads(name, generation):
    return name.rpartition(".")[2] in OF_HEADS.get(generation, ())


def in_shape(generation, shape):
    arrays = random_model(generation)
    return {
        name: values.reshape(shape) if is_of_heads(name, generation) else values
        for name, values in arrays.items()
    }


def refused(path, match):
    with pytest.raises(CheckpointError, match=match):
        read_config(open_checkpoint(path))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("shape", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("generation", OF_HEADS)
def test_dimensions_of_one_change_nothing(tmp_path, generation, shape, container):
    path = CONTAINERS[container](tmp_path / "m", in_shape(generation, shape))
    found = open_checkpoint(path)
    config = read_config(found)
    sizes = (config.generation, config.heads, config.head_size)
    assert sizes == (f"rwkv{generation}", HEADS, HEAD_SIZE)
    assert_same(found, random_model(generation))


@pytest.mark.parametrize("evidence", ["head_dim", "head_size", "time_state", None])
@pytest.mark.parametrize("shape", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("generation", OF_HEADS)
def test_the_size_of_a_head_is_told_by_something(tmp_path, generation, shape, evidence):
    arrays, expected = in_shape(generation, shape), random_model(generation)
    if evidence == "time_state":
        states = np.ones((HEADS, HEAD_SIZE, HEAD_SIZE), np.float32)
        for layer in (0, 1):
            arrays[f"blocks.{layer}.att.time_state"] = states
            expected[f"blocks.{layer}.att.time_state"] = states
    elif evidence:
        write_json(tmp_path / "config.json", {evidence: HEAD_SIZE})
    for container, write in CONTAINERS.items():
        path = write(tmp_path / f"m.{container}", arrays)
        if evidence is None:
            refused(path, r"att\.\w+: is flattened .*head_dim")
            continue
        found = open_checkpoint(path)
        assert read_config(found).heads == HEADS
        assert_same(found, expected)


def test_evidence_that_contradicts_or_is_none(tmp_path):
    arrays = in_shape("7", (DIM,))
    path = CONTAINERS["pth"](tmp_path / "m.pth", arrays)
    for said, match in {
        24: "has 64 values, which are not heads of 24",
        0: "head_dim is 0, not a size",
        "32": "head_dim is 32, not a size",
        True: "head_dim is True, not a size",
    }.items():
        write_json(tmp_path / "config.json", {"head_dim": said})
        refused(path, match)
    write_json(tmp_path / "config.json", {"head_dim": HEAD_SIZE, "head_size": 64})
    refused(path, "flattened, and the size of a head is head_dim 32, head_size 64")
    write_json(tmp_path / "config.json", {"head_dim": HEAD_SIZE, "num_hidden_layers": 9})
    refused(path, "num_hidden_layers is 9")
    write_json(tmp_path / "config.json", {"architectures": ["LlamaForCausalLM"]})
    refused(path, "LlamaForCausalLM is not RWKV")


def test_one_large_head_is_not_taken_for_one(tmp_path):
    """[1, C] is how a row is stored, and no model has a single head of 320 channels."""
    tensors = random_tensors(layers=2, dim=320, vocab_size=17, head_size=64)
    for name in [name for name in tensors if name.endswith("r_k")]:
        tensors[name] = tensors[name].reshape(1, 320)
    path = write_model(tmp_path / "m.st", tensors)
    refused(path, "is flattened")
    write_json(tmp_path / "config.json", {"head_dim": 64})
    assert read_config(open_checkpoint(path)).heads == 5
    small = random_tensors(layers=2, dim=48, vocab_size=17, head_size=48)
    assert read_config(open_checkpoint(write_model(tmp_path / "s.st", small))).heads == 1


@pytest.mark.parametrize("shards", [1, 2])
def test_a_folder_of_fla(tmp_path, shards):
    official = official_tensors("v7")
    exported = {
        name: values.reshape(-1) if name.endswith("r_k") else values
        for name, values in fla7(official).items()
    }
    size = official["blocks.0.att.r_k"].shape[1]
    folder = write_folder(tmp_path / "m", exported, {"head_dim": size}, shards)
    assert_same(open_checkpoint(folder), official)
    write_json(folder / "config.json", {})
    refused(folder, "is flattened")


def test_of_ai00(tmp_path):
    official = halves(random_model("7"))
    path = write_st(tmp_path / "m.st", converted(official))
    assert_same(open_checkpoint(path), official)
    flat = {n: v.reshape(-1) if n.endswith("r_k") else v for n, v in converted(official).items()}
    refused(write_st(path, flat), "is flattened")
    write_json(tmp_path / "config.json", {"head_dim": HEAD_SIZE})
    assert_same(open_checkpoint(path), official)


@pytest.mark.parametrize("first", ["4", "5.0", "5.1", "5.2", "6", "7"])
@pytest.mark.parametrize("second", ["4", "5.0", "5.1", "5.2", "6", "7"])
def test_layers_of_two_generations_are_refused_by_their_tensors(tmp_path, first, second):
    """Rows of channels that RWKV-4 and 6 have are no heads, whatever the other layers are."""
    one, other = random_model(first), random_model(second)
    mixture = {name: values for name, values in one.items() if "blocks.1." not in name}
    mixture |= {name: values for name, values in other.items() if "blocks.1." in name}
    path = write_st(tmp_path / "m.st", mixture)
    if first != second:
        refused(path, r"m\.st: tensor blocks\.\d\.\S+ (?!is flattened)")
