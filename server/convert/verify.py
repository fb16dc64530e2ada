"""Comparing a converted model with what it was made of."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.contents import is_tuned_state
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import Progress
from server.convert.precision import PLAIN, row_slices
from server.model.config import ModelConfig, read_config, tensor_shapes

BOUNDS: Mapping[str, float] = {
    "float32": 0,
    "float16": 2**-11,
    "bfloat16": 2**-8,
    "q8_0": 0.5 / 127 + 2**-10,
    "q5_1": 1 / 31 + 2**-10,
    "q5_0": 1 / 16 + 2**-10,
    "q4_1": 1 / 15 + 2**-10,
    "q4_0": 1 / 8 + 2**-10,
}
"""The largest error that rounding to a dtype may make, relative to the tensor's largest value.

Half a unit in the last place, or half a step of a block: where steps go from minimum to maximum
(_1) that is a 31st or 15th of the largest, where one side has a step less (_0) that whole step.
Scales are float16, which the rest is for.
"""

_LARGEST_CODE, _HALF_OF_SMALLEST_FLOAT16 = 128, 2**-25


def verify(source: Checkpoint, written: Path, config: ModelConfig, progress: Progress) -> str:
    """Compare every tensor. Returns what to say about it.

    Raises CheckpointError when a tensor or size differs by more than its dtype explains.
    """
    target = open_checkpoint(written)
    _compare_config(target, config)
    states = [name for name in source.tensors if is_tuned_state(name)]
    names = [*tensor_shapes(config), *states]
    worst, worst_name = 0.0, ""
    total, before = sum(source.tensors[name].nbytes for name in names), 0
    for name in names:
        if name not in target.tensors:
            raise CheckpointError(f"{source.path}: tensor {name} is missing from what was written")
        tensor = source.tensors[name]

        def compared(fraction: float, before: int = before, size: int = tensor.nbytes) -> None:
            progress(before + int(fraction * size), total)

        difference, largest = _difference(tensor, target.tensors[name], compared)
        before += tensor.nbytes
        if math.isnan(difference):
            raise tensor_error(source.path, name, "has values that are not finite")
        error = difference / largest if difference else 0.0
        bound = _bound(source.tensors[name], target.tensors[name], largest)
        if not error <= bound:
            raise CheckpointError(
                f"{source.path}: tensor {name} as {target.tensors[name].dtype} is off by "
                f"{error:.3g} of its largest value (at most {bound:.3g} is rounding); "
                "use another --dtype"
            )
        if error > worst:
            worst, worst_name = error, name
    if not worst_name:
        return "all values are exact"
    return f"the largest error is {worst:.2g} of the largest value of its tensor, {worst_name}"


def _compare_config(target: Checkpoint, config: ModelConfig) -> None:
    found = read_config(target)
    # What nothing reads may be left out, and dtypes may be others.
    found = replace(found, parameters=config.parameters, stored_dtype=config.stored_dtype)
    if found != config:
        raise CheckpointError(f"{target.path}: reads as {found}, expected {config}")


def _bound(source: Tensor, target: Tensor, largest: float) -> float:
    if source.is_plain and source.dtype == target.dtype:
        return 0.0
    bound = BOUNDS.get(target.dtype, 0.0)
    if target.dtype not in PLAIN and largest:
        # Scales of tiny values are below float16's normal range, where they have fewer digits.
        bound = min(bound + _LARGEST_CODE * _HALF_OF_SMALLEST_FLOAT16 / largest, BOUNDS["q4_0"])
    return bound


def _difference(
    source: Tensor, target: Tensor, compared: Callable[[float], None]
) -> tuple[float, float]:
    """The largest difference, NaN where there is one, and the largest value."""
    largest = difference = np.float32(0)
    is_same_shape = source.shape == target.shape  # or rows of [C] and [1, 1, C]
    for rows in row_slices(source) if is_same_shape else (slice(None),):
        expected = source.to_float32(rows).reshape(-1)
        found = target.to_float32(rows).reshape(-1)
        with np.errstate(all="ignore"):
            difference = np.maximum(difference, np.abs(expected - found).max(initial=0))
        largest = np.maximum(largest, np.abs(expected).max(initial=0))
        compared(1.0 if rows.stop is None else rows.stop / source.shape[0])
    source.forget()
    target.forget()
    return float(difference), float(largest)
