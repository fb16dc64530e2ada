"""The official tensors that those of Hugging Face exports hold, none of which is read yet."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from server.checkpoints.checkpoint import Tensor
from server.checkpoints.derived import entries, rearranged, reshaped, transposed
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
    shape, renamed = tensor.shape, replace(tensor, name=name)
    if change in ("mixes", "biases"):
        order = MIX_ORDER if change == "mixes" else BRANCHES
        if len(shape) == 2 and shape[0] == len(order):
            for kind, row in zip(order, entries(tensor), strict=True):
                yield reshaped(replace(row, name=name + kind), (1, 1, shape[1]))
            return
    elif change == "row" and len(shape) == 1:
        yield reshaped(renamed, (1, 1, *shape))
        return
    elif change == "transposed" and len(shape) == 2:
        yield transposed(renamed)
        return
    elif change in ("mix down", "mix up"):
        axis = 0 if change == "mix down" else 1
        if len(shape) == 2 and shape[axis] % len(_ORDER) == 0:
            yield _mix_down(renamed) if change == "mix down" else _mix_up(renamed)
            return
    yield renamed


def _mix_down(tensor: Tensor) -> Tensor:
    """[5 R, C] in fla's order of branches → [C, 5 R] in the official one."""
    rows, columns = tensor.shape

    def reordered(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.reshape(len(_ORDER), -1, columns)[_ORDER].reshape(rows, columns).T

    return rearranged(tensor, (columns, rows), reordered)


def _mix_up(tensor: Tensor) -> Tensor:
    """[C, 5 R] in fla's order of branches → [5, R, C] in the official one."""
    rows, columns = tensor.shape
    rank = columns // len(_ORDER)

    def reordered(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.reshape(rows, len(_ORDER), rank).transpose(1, 2, 0)[_ORDER]

    return rearranged(tensor, (len(_ORDER), rank, rows), reordered)
