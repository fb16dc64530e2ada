"""Small random models of every generation, with the official names and shapes."""

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, Tensor

LAYERS, DIM, HEADS, FFN, VOCAB = 2, 64, 2, 96, 40
HEAD_SIZE = DIM // HEADS
GENERATIONS = ("4", "5.0", "5.1", "5.2", "6", "7")


def shapes(generation, layers=LAYERS):
    """Name → shape."""
    found = {"emb.weight": (VOCAB, DIM), "head.weight": (VOCAB, DIM)}
    norms = ["ln_out", "blocks.0.ln0"]
    for layer in range(layers):
        block = f"blocks.{layer}"
        norms += [f"{block}.ln1", f"{block}.ln2"]
        norms += [f"{block}.att.ln_x"] if generation != "4" else []
        for matrix in ("receptance", "key", "value", "output"):
            found[f"{block}.att.{matrix}.weight"] = (DIM, DIM)
        if generation in ("5.1", "5.2", "6"):
            found[f"{block}.att.gate.weight"] = (DIM, DIM)
        found[f"{block}.ffn.key.weight"] = (FFN, DIM)
        found[f"{block}.ffn.value.weight"] = (DIM, FFN)
        if generation != "7":
            found[f"{block}.ffn.receptance.weight"] = (DIM, DIM)
        found |= {f"{block}.{n}": s for n, s in _mixing(generation, layer).items()}
    return found | {f"{norm}.{part}": (DIM,) for norm in norms for part in ("weight", "bias")}


def _mixing(generation, layer):
    row, heads = (1, 1, DIM), (HEADS, HEAD_SIZE)
    if generation == "7":
        found = {f"att.x_{kind}": row for kind in "rwkvag"} | {"ffn.x_k": row}
        ranks = {"w": 8, "a": 6, "g": 10} | ({"v": 4} if layer else {})
        for kind, rank in ranks.items():
            found |= {f"att.{kind}1": (DIM, rank), f"att.{kind}2": (rank, DIM)}
            found |= {f"att.{kind}0": row} if kind != "g" else {}
        return found | {"att.k_k": row, "att.k_a": row, "att.r_k": heads}
    if generation == "6":
        found = {f"att.time_maa_{kind}": row for kind in "xwkvrg"}
        found |= {f"ffn.time_maa_{kind}": row for kind in "kr"}
        found |= {"att.time_maa_w1": (DIM, 5 * 8), "att.time_maa_w2": (5, 8, DIM)}
        found |= {"att.time_decay_w1": (DIM, 12), "att.time_decay_w2": (12, DIM)}
        return found | {"att.time_decay": row, "att.time_faaaa": heads}
    mixes = "kvrg" if generation in ("5.1", "5.2") else "kvr"
    found = {f"att.time_mix_{kind}": row for kind in mixes}
    found |= {f"ffn.time_mix_{kind}": row for kind in "kr"}
    if generation == "5.2":
        return found | {"att.time_decay": heads, "att.time_faaaa": heads}
    size = DIM if generation == "4" else HEADS
    return found | {"att.time_decay": (size,), "att.time_first": (size,)}


def random_model(generation, layers=LAYERS, seed=0):
    """Name → float32 array."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes(generation, layers).items()
    }


def checkpoint_of(path, arrays, dtype="float32"):
    """A checkpoint in memory, as if it were read from the path."""
    tensors = {name: Tensor(name, dtype, a.shape, a) for name, a in arrays.items()}
    return Checkpoint(path, {}, tensors)


def assert_same(checkpoint, arrays, rtol=0.0, atol=0.0):
    """The tensors are these arrays: names, shapes but for the dimensions of 1 of rows, values."""
    assert set(checkpoint.tensors) == set(arrays)
    for name, array in arrays.items():
        tensor = checkpoint.tensors[name]
        assert tensor.name == name
        squeezed = tuple(n for n in array.shape if n != 1)
        assert tuple(n for n in tensor.shape if n != 1) == squeezed, name
        values = tensor.to_float32()
        assert values.dtype == np.float32
        assert values.shape == tensor.shape
        assert values.flags.c_contiguous
        np.testing.assert_allclose(
            values.reshape(squeezed), array.reshape(squeezed), rtol, atol, err_msg=name
        )
        half = slice(len(values) // 2, None)
        np.testing.assert_array_equal(tensor.to_float32(half), values[half], err_msg=name)
