"""Lazy tensors that are others renamed, reshaped, transposed or reordered."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Tensor
from server.checkpoints.huggingface_names import (
    BRANCHES,
    MIX_ORDER,
    OFFICIAL_BRANCHES,
    Change,
)

_ORDER = [BRANCHES.index(branch) for branch in OFFICIAL_BRANCHES]


def official_tensors(tensor: Tensor, name: str, change: Change) -> Iterator[Tensor]:
    """The official tensors that an exported one holds.

    One whose shape does not allow the change is only renamed: then its shape is wrong in either
    form, and model/config.py says so.
    """
    shape = tensor.shape
    if change in ("mixes", "biases"):
        order = MIX_ORDER if change == "mixes" else BRANCHES
        if len(shape) == 2 and shape[0] == len(order):
            for row, kind in enumerate(order):
                yield _row(tensor, name + kind, row)
            return
    elif change == "row" and len(shape) == 1:
        yield reshaped(tensor, name, (1, 1, *shape))
        return
    elif change == "transposed" and len(shape) == 2:
        yield transposed(tensor, name)
        return
    elif change in ("mix down", "mix up"):
        axis = 0 if change == "mix down" else 1
        if len(shape) == 2 and shape[axis] % len(_ORDER) == 0:
            yield _mix_down(tensor, name) if change == "mix down" else _mix_up(tensor, name)
            return
    yield replace(tensor, name=name)


def reshaped(tensor: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    """The same values, [*shape]."""
    if tensor.is_plain:
        return replace(tensor, name=name, shape=shape, data=tensor.data.reshape(shape))
    return _computed(name, shape, lambda: tensor.to_float32().reshape(shape))


def transposed(tensor: Tensor, name: str) -> Tensor:
    """[A, B] → [B, A]."""
    shape = (tensor.shape[1], tensor.shape[0])
    if tensor.is_plain:
        return replace(tensor, name=name, shape=shape, data=tensor.data.T)
    return _computed(name, shape, lambda: tensor.to_float32().T)


def _row(tensor: Tensor, name: str, row: int) -> Tensor:
    """Row of [N, C] as [1, 1, C]."""
    shape = (1, 1, tensor.shape[1])
    if tensor.is_plain:
        data = tensor.data[row].reshape(shape)
        offset = tensor.offset + row * data.nbytes
        return replace(tensor, name=name, shape=shape, data=data, offset=offset)
    rows = slice(row, row + 1)
    return _computed(name, shape, lambda: tensor.to_float32(rows).reshape(shape))


def _mix_down(tensor: Tensor, name: str) -> Tensor:
    """[5 R, C] in fla's order of branches → [C, 5 R] in the official one."""
    rows, columns = tensor.shape

    def values() -> npt.NDArray[np.float32]:
        branches = tensor.to_float32().reshape(len(_ORDER), -1, columns)
        return branches[_ORDER].reshape(rows, columns).T

    return _computed(name, (columns, rows), values)


def _mix_up(tensor: Tensor, name: str) -> Tensor:
    """[C, 5 R] in fla's order of branches → [5, R, C] in the official one."""
    rows, columns = tensor.shape
    rank = columns // len(_ORDER)

    def values() -> npt.NDArray[np.float32]:
        branches = tensor.to_float32().reshape(rows, len(_ORDER), rank)
        return branches.transpose(1, 2, 0)[_ORDER]

    return _computed(name, (len(_ORDER), rank, rows), values)


def _computed(
    name: str, shape: tuple[int, ...], values: Callable[[], npt.NDArray[np.float32]]
) -> Tensor:
    """A tensor of float32 that no view of a file can be: its data are the numbers of its rows."""

    def decode(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.take(values(), rows, axis=0)

    return Tensor(name, "float32", shape, np.arange(shape[0]), decode=decode)
