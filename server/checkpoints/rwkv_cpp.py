"""Reading rwkv.cpp's .bin files: a header of six integers, then tensors one after another.

Format: https://github.com/RWKV/rwkv.cpp/blob/master/docs/FILE_FORMAT.md. What its converter
changes in the official tensors is undone here, before any of them is read.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import (
    EPSILON_KEY,
    Checkpoint,
    CheckpointError,
    Tensor,
    map_file,
    tensor_error,
)
from server.checkpoints.derived import computed, entries, reshaped, transposed
from server.checkpoints.ggml import stored_bytes, view_ggml_tensor

MAGIC = b"fmgg"  # 0x67676d66, little-endian
PLAIN_ONLY, CURRENT = 100, 101  # versions; blocks of 100 are of a layout that ggml gave up
MAX_TENSORS = 16_384  # the largest RWKV has some 2500
MAX_NAME_BYTES = 256

_HEADER = struct.Struct("<4s5I")  # magic, version, vocabulary, dimension, layers, type
_RECORD = struct.Struct("<3I")  # dimensions, bytes of the name, type
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "q4_0",
    3: "q4_1",
    7: "q5_0",
    8: "q5_1",
    9: "q8_0",
}
_RETIRED = {4: "Q4_1_O", 5: "Q4_2", 6: "Q4_3"}

Floats = npt.NDArray[np.float64]
Rule = Callable[[Tensor], Tensor]


def read_rwkv_cpp(path: Path) -> Checkpoint:
    """Map an rwkv.cpp file as the official tensors. Raises CheckpointError, one line."""
    mapped = map_file(path)
    if len(mapped) < _HEADER.size:
        raise CheckpointError(f"{path}: truncated: the file ends inside the rwkv.cpp header")
    _, version, vocab_size, dim, layers, number = _HEADER.unpack_from(mapped)
    if version not in (PLAIN_ONLY, CURRENT):
        raise CheckpointError(f"{path}: rwkv.cpp file of unknown version {version}")
    _check_type(f"{path}", version, number)
    stored: dict[str, Tensor] = {}
    position = _HEADER.size
    while position < len(mapped):
        tensor, position = _read_record(path, mapped, version, position)
        if tensor.name in stored:
            raise tensor_error(path, tensor.name, "occurs twice")
        if len(stored) == MAX_TENSORS:
            raise CheckpointError(f"{path}: more than {MAX_TENSORS} tensors")
        stored[tensor.name] = tensor
    embedding = stored.get("emb.weight")
    if embedding is None or embedding.shape != (vocab_size, dim):
        raise CheckpointError(
            f"{path}: emb.weight is missing or not of shape {[vocab_size, dim]}, as its header says"
        )
    last = f"blocks.{layers - 1}.ln1.weight"
    if last not in stored or f"blocks.{layers}.ln1.weight" in stored:
        raise CheckpointError(f"{path}: has not the {layers} layers that its header says")
    official = _official(path, stored, dim)
    is_rwkv5 = "blocks.0.att.time_decay" in official and "blocks.0.att.ln_x.weight" in official
    is_rwkv5 = is_rwkv5 and "blocks.0.att.time_maa_x" not in official
    # rwkv.cpp does not divide what it norms by 8 there, as training does (rwkv_graph.inc).
    return Checkpoint(path, {EPSILON_KEY: "1e-05"} if is_rwkv5 else {}, official)


def _check_type(what: str, version: int, number: int) -> str:
    """The dtype of rwkv.cpp's number of a type. Raises CheckpointError that begins with `what`."""
    if number in _RETIRED:
        raise CheckpointError(
            f"{what}: type {_RETIRED[number]}, which rwkv.cpp gave up; quantise the model again"
        )
    if number not in _DTYPES:
        raise CheckpointError(f"{what}: unknown type {number}")
    dtype = _DTYPES[number]
    if version == PLAIN_ONLY and dtype.startswith("q"):
        raise CheckpointError(
            f"{what}: {dtype} of an old version of rwkv.cpp (file version {version}), whose layout "
            "ggml gave up; quantise the model again"
        )
    return dtype


def _read_record(path: Path, mapped: mmap.mmap, version: int, begin: int) -> tuple[Tensor, int]:
    """One tensor, and where the next begins."""
    end = len(mapped)
    truncated = CheckpointError(f"{path}: truncated: the file ends inside a tensor")
    if begin + _RECORD.size > end:
        raise truncated
    dimensions, name_bytes, number = _RECORD.unpack_from(mapped, begin)
    if not 1 <= dimensions <= 3 or not 1 <= name_bytes <= MAX_NAME_BYTES:
        raise CheckpointError(
            f"{path}: the tensor at byte {begin} has {dimensions} dimensions and a name of "
            f"{name_bytes} bytes: damaged"
        )
    begin += _RECORD.size
    name_begin = begin + 4 * dimensions
    data_begin = name_begin + name_bytes
    if data_begin > end:
        raise truncated
    # Stored from the innermost dimension to the outermost, the reverse of NumPy's order.
    shape = struct.unpack_from(f"<{dimensions}i", mapped, begin)[::-1]
    try:
        name = mapped[name_begin:data_begin].decode()
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: the tensor at byte {begin} has a damaged name") from None
    dtype = _check_type(f"{path}: tensor {name[:120]}", version, number)
    if min(shape) < 1:
        raise tensor_error(path, name, f"impossible shape {list(shape)}")
    size = stored_bytes(dtype, shape)
    if size is None:
        raise tensor_error(path, name, f"{dtype} has no rows of {shape[-1]}")
    if data_begin + size > end:
        raise tensor_error(path, name, "reaches past the end of the file (truncated?)")
    return view_ggml_tensor(mapped, name, dtype, shape, data_begin), data_begin + size


def _official(path: Path, stored: Mapping[str, Tensor], dim: int) -> dict[str, Tensor]:
    """The tensors as the official checkpoint has them."""
    rules = _rules(stored, partial(_heads, dim))
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        _, _, kind = name.removeprefix("blocks.").partition(".")
        try:
            if kind == "att.x_rwkvag":
                made = _split_mixes(tensor)
            elif rule := rules.get(kind):
                made = [rule(tensor)]
            else:
                made = [tensor]
        except ValueError:
            raise tensor_error(
                path, name, f"has shape {list(tensor.shape)}, which rwkv.cpp never writes"
            ) from None
        for new in made:
            if new.name in tensors:
                raise tensor_error(path, new.name, "occurs twice")
            tensors[new.name] = new
    return tensors


def _rules(stored: Mapping[str, Tensor], heads: Rule) -> dict[str, Rule]:
    """What to undo by the name within a layer, for the generation that the names tell.

    `heads` undoes what is done to values of heads.
    """

    def has(name: str) -> bool:
        return f"blocks.0.att.{name}" in stored

    if has("k_k"):
        return {f"att.{kind}{side}": transposed for kind in "wavg" for side in "12"}
    if has("time_maa_x"):
        low_rank = ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2")
        rules: dict[str, Rule] = {f"att.{name}": transposed for name in low_rank}
        return rules | {"att.time_decay": _row, "att.time_faaaa": heads}
    if has("time_faaaa"):  # 5.1 and 5.2, and 5.0 since it has no logarithm
        shape = heads if has("gate.weight") else _flat
        return {"att.time_decay": _undo(shape, _log_of_decay), "att.time_faaaa": heads}
    if has("ln_x.weight"):  # 5.0
        return {
            "att.time_decay": _undo(_flat, _log_of_decay),
            "att.time_first": _undo(_flat, _log),
        }
    return {"att.time_decay": _undo(_flat, _log_of_negative)}


def _split_mixes(tensor: Tensor) -> list[Tensor]:
    """[6, 1, C] → x_r, x_w, x_k, x_v, x_a and x_g of RWKV-7, [1, 1, C] each."""
    if tensor.shape[0] != 6:
        raise ValueError("not six rows")
    base = tensor.name.removesuffix("rwkvag")
    return [
        _row(replace(part, name=base + kind))
        for kind, part in zip("rwkvag", entries(tensor), strict=True)
    ]


def _row(tensor: Tensor) -> Tensor:
    return reshaped(tensor, (1, 1, prod(tensor.shape)))


def _flat(tensor: Tensor) -> Tensor:
    return reshaped(tensor, (prod(tensor.shape),))


def _heads(dim: int, tensor: Tensor) -> Tensor:
    """[H, N, 1] → [H, N]; of RWKV-5.1 [H, 1] → [H].

    The converter leaves out the dimension of a single head: [C, 1] is [1, C].
    """
    shape = tensor.shape
    if shape[-1] != 1 or len(shape) > 3:
        raise ValueError("not one value per channel of a head, or per head")
    if shape == (dim, 1):
        return reshaped(tensor, (1, dim))
    return reshaped(tensor, shape[:-1] or shape)


def _undo(shape: Rule, function: Callable[[Floats], Floats]) -> Rule:
    return lambda tensor: computed(shape(tensor), function)


# The inverses of what the converter computes in float32. Where that rounded to the end of the
# range, the value is one that would round there again, so that all stay finite.
_ZERO, _ONE = 2.0**-151, 1 - 2.0**-26


def _log(x: Floats) -> Floats:
    return np.log(np.where(x == 0, _ZERO, x))


def _log_of_negative(x: Floats) -> Floats:
    """The w of -exp(w)."""
    return _log(-x)


def _log_of_decay(x: Floats) -> Floats:
    """The w of exp(-exp(w))."""
    return np.log(-_log(np.where(x == 1, _ONE, x)))
