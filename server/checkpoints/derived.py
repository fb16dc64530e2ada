"""Tensors made of other tensors before any is read: another shape or other values, same bytes."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Decode, Tensor, bfloat16_to_float32

Function = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same values in another shape. Raises ValueError when their numbers differ."""
    if prod(shape) != prod(tensor.shape):
        raise ValueError(f"shape {list(tensor.shape)} cannot become {list(shape)}")
    if tensor.is_plain:
        return replace(tensor, shape=shape, data=tensor.data.reshape(shape))
    return rearranged(tensor, shape, lambda values: values.reshape(shape))


def transposed(tensor: Tensor) -> Tensor:
    """The last two dimensions swapped. Raises ValueError when there are not two."""
    if len(tensor.shape) < 2:
        raise ValueError(f"shape {list(tensor.shape)} cannot be transposed")
    shape = (*tensor.shape[:-2], tensor.shape[-1], tensor.shape[-2])
    if tensor.is_plain:
        return replace(tensor, shape=shape, data=tensor.data.swapaxes(-1, -2))
    return rearranged(tensor, shape, lambda values: values.swapaxes(-1, -2))


def rearranged(
    tensor: Tensor, shape: tuple[int, ...], change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Tensor:
    """The same values, as `change` puts them into another shape.

    For what no view of a file can be. All values are read at once, so it is for small tensors.
    """
    return Tensor(
        tensor.name,
        tensor.dtype,
        shape,
        tensor.data,
        tensor.mapped,
        tensor.offset,
        decode=lambda _: change(tensor.to_float32()),
        whole=True,
    )


def entries(tensor: Tensor) -> list[Tensor]:
    """One tensor for each index of the first of several dimensions, as they lie in the file.

    Raises ValueError when there is only one dimension.
    """
    if len(tensor.shape) < 2:
        raise ValueError(f"shape {list(tensor.shape)} cannot be split")
    size, shape = tensor.nbytes // tensor.shape[0], tensor.shape[1:]
    return [
        replace(
            tensor,
            shape=shape,
            data=data,
            offset=tensor.offset + index * size,
            whole=len(shape) == 1,
        )
        for index, data in enumerate(tensor.data)
    ]


def computed(tensor: Tensor, function: Function) -> Tensor:
    """The values that an elementwise function, computed in float64, has of the tensor's.

    The dtype is no longer that of the stored values, since those are not what the tensor holds.
    """
    read = _values_of(tensor)

    def decode(data: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
        with np.errstate(all="ignore"):  # of a hostile file: NaN, which the model's loader refuses
            return function(read(data).astype(np.float64))

    dtype = tensor.dtype if tensor.decode is not None else "float32"
    return replace(tensor, dtype=dtype, decode=decode)


def _values_of(tensor: Tensor) -> Decode:
    if tensor.decode is not None:
        return tensor.decode
    if tensor.dtype == "bfloat16":
        return lambda data: bfloat16_to_float32(data.view(np.uint16))
    return lambda data: data
