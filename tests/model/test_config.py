"""What read_config makes of checkpoints, whole and broken."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError, Tensor
from server.checkpoints.reader import open_checkpoint
from server.model.config import ModelConfig, read_config, tensor_shapes
from server.model.initialize import design

RANKS = {"decay": 3, "rate": 4, "first": 5, "gate": 6}
SIZES = ModelConfig("rwkv7", 3, 8, 2, 4, 11, 20, RANKS)


def checkpoint(changes=None, config=SIZES, dtypes=None):
    """A checkpoint of zeros; `changes` are name → shape, or None to leave the tensor out."""
    shapes = tensor_shapes(config) | (changes or {})
    tensors = {}
    for name, shape in shapes.items():
        dtype = (dtypes or {}).get(name, "float32")
        if shape is not None:
            data = np.zeros(shape, NUMPY_DTYPES[dtype])
            tensors[name] = Tensor(name, dtype, shape, data)
    return Checkpoint(Path("model.pth"), {}, tensors)


def test_sizes():
    found = read_config(checkpoint())
    assert replace(found, parameters=0) == SIZES
    assert found.parameters == sum(np.prod(shape) for shape in tensor_shapes(SIZES).values())
    assert found.state_bytes == 3 * (2 * 8 + 2 * 4 * 4) * 4


def test_variants_that_are_fine():
    rows = {name: (8,) for name, shape in tensor_shapes(SIZES).items() if shape[:2] == (1, 1)}
    assert read_config(checkpoint(rows)) == read_config(checkpoint())
    first = {"blocks.0.att.v0": (1, 1, 8), "blocks.0.att.v1": (8, 9), "blocks.0.att.v2": (9, 8)}
    assert read_config(checkpoint(first)).ranks["first"] == 5
    single = read_config(checkpoint(config=replace(SIZES, layers=1)))
    assert (single.layers, single.ranks["first"]) == (1, 0)
    assert (
        read_config(checkpoint(config=replace(SIZES, layers=1), changes=first)).ranks["first"] == 0
    )
    names = tensor_shapes(SIZES)
    halves = {name: "bfloat16" for name in names if len(names[name]) == 2}
    assert read_config(checkpoint(dtypes=halves)).stored_dtype == "bfloat16"


GENERATIONS = {
    generation: design(generation, 2, 8, 11, 4)
    for generation in ("rwkv4", "rwkv5.0", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7", "rwkv7a")
}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_is_told_by_its_tensors(generation):
    config = GENERATIONS[generation]
    found = read_config(checkpoint(config=config))
    assert replace(found, parameters=0) == config
    assert found.parameters == sum(np.prod(shape) for shape in tensor_shapes(config).values())
    single = design(generation, 1, 8, 11, 4)
    assert replace(read_config(checkpoint(config=single)), parameters=0) == single


@pytest.mark.parametrize(
    ("generation", "name"),
    [(each, name) for each, config in GENERATIONS.items() for name in tensor_shapes(config)],
)
def test_every_tensor_is_checked(generation, name):
    config = GENERATIONS[generation]
    shape = tensor_shapes(config)[name]
    # Without its generation's mark it is another generation, or none.
    with pytest.raises(CheckpointError, match=r"^model\.pth"):
        read_config(checkpoint({name: None}, config))
    for wrong in ((*shape[:-1], shape[-1] + 1), (*shape, 1), (2, *shape)):
        with pytest.raises(CheckpointError, match=r"^model\.pth: tensor "):
            read_config(checkpoint({name: wrong}, config))
    with pytest.raises(CheckpointError, match=f"tensor {name} has dtype int32"):
        read_config(checkpoint(config=config, dtypes={name: "int32"}))


def test_mixed_generations_are_refused():
    tensors = {}
    for generation in ("rwkv6", "rwkv7"):
        tensors |= checkpoint(config=GENERATIONS[generation]).tensors
    with pytest.raises(CheckpointError, match="is not part of RWKV-7"):
        read_config(Checkpoint(Path("model.pth"), {}, tensors))


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["blocks.0.att.time_first", "blocks.0.att.time_decay"], r"emb\.weight is missing"),
        (["transformer.wte.weight"], "not an RWKV checkpoint"),
        ([], "not an RWKV checkpoint"),
    ],
)
def test_other_models(names, match):
    tensors = {n: Tensor(n, "float32", (1,), np.zeros(1, np.float32)) for n in names}
    with pytest.raises(CheckpointError, match=match):
        read_config(Checkpoint(Path("model.pth"), {}, tensors))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"blocks.0.att.r_k": (3, 4)}, "do not make dimension 8"),
        ({"blocks.0.att.r_k": (8,)}, "two dimensions"),
        ({"emb.weight": (0, 8)}, "two dimensions"),
        ({"blocks.5.att.w1": (8, 3)}, "layer 3 is missing"),
        ({"blocks.2.att.w1": (8, 4)}, r"blocks\.2\.att\.w1 has shape"),
        ({"blocks.1.ffn.s_emb.weight": (11, 8)}, "not part of RWKV-7"),
        ({"blocks.99999.x": (1,)}, "not part of RWKV-7"),
        ({"head.weight": None}, "tensor head.weight is missing"),
    ],
)
def test_broken_models(changes, match):
    with pytest.raises(CheckpointError, match=match):
        read_config(checkpoint(changes))


def test_trained_fixture(fixtures_dir):
    path = fixtures_dir / "tiny-rwkv" / "tiny-rwkv-7v0-834K.safetensors"
    found = asdict(read_config(open_checkpoint(path)))
    assert found == {
        "generation": "rwkv7",
        "layers": 12,
        "dim": 64,
        "heads": 1,
        "head_size": 64,
        "vocab_size": 256,
        "ffn_dim": 256,
        "ranks": {"decay": 32, "rate": 32, "first": 32, "gate": 32},
        "group_norm_epsilon": 64e-5,
        "parameters": 829_888,
        "stored_dtype": "float32",
        "packed_as": "",
    }
