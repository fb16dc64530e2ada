"""Models as the converter of Ai00 and web-rwkv writes them; layouts.py reads them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Checkpoint, Tensor, tensor_error
from server.checkpoints.derived import rearranged, transposed
from server.checkpoints.layouts import AI00, LAYOUT_KEY, LOW_RANK, TIME_STATE

METADATA = {"format": "pt", LAYOUT_KEY: AI00}
_PER_HEAD = (".att.time_decay", ".att.time_faaaa")


def with_values_per_channel(checkpoint: Checkpoint, dim: int) -> Checkpoint:
    """RWKV-5.1 as 5.2, which computes the same: what it has for a head, for each channel of it.

    Raises CheckpointError when the heads do not share the channels evenly.
    """
    tensors = dict(checkpoint.tensors)
    for name, tensor in checkpoint.tensors.items():
        if not name.endswith(_PER_HEAD) or len(tensor.shape) != 1:
            continue
        heads = tensor.shape[0]
        if not heads or dim % heads:
            raise tensor_error(checkpoint.path, name, f"{heads} heads do not share {dim} channels")
        tensors[name] = rearranged(tensor, (heads, dim // heads), _repeat(dim // heads))
    return replace(checkpoint, tensors=tensors)


def to_ai00(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Official name → the lazy tensor, named and turned as Ai00's converter does it.

    Of RWKV-5.1 with_values_per_channel comes first.
    """
    found = {}
    for name, tensor in checkpoint.tensors.items():
        new = replace(tensor, name=ai00_name(name))
        is_turned = LOW_RANK.fullmatch(name) or TIME_STATE.fullmatch(name)
        found[name] = transposed(new) if is_turned and len(new.shape) > 1 else new
    return found


def ai00_name(official: str) -> str:
    """What Ai00's converter calls an official tensor."""
    return official.replace("time_faaaa", "time_first").replace("time_maa", "time_mix")


def _repeat(times: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    return lambda values: np.repeat(values[:, None], times, axis=1)
