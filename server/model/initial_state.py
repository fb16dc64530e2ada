"""The states that sequences begin with: empty, or tuned, from a checkpoint or a file of its own."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import CheckpointError, Tensor
from server.checkpoints.reader import open_checkpoint
from server.model.config import ModelConfig
from server.model.tensors import is_tuned_state

StateArrays = dict[str, npt.NDArray[np.float32]]
"""By the names of ModelConfig.state_shapes."""

_NOTHING_YET = np.float32(-1e30)


def empty_state(config: ModelConfig) -> StateArrays:
    """The state of a sequence without tokens."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in config.state_shapes.items()}
    if not config.heads:
        arrays["wkv"][:, 2] = _NOTHING_YET  # the exponent of nothing, as in the official code
    return arrays


def initial_state(config: ModelConfig, path: Path, tensors: Mapping[str, Tensor]) -> StateArrays:
    """The state that a checkpoint's own `time_state` make; an empty one if it has none.

    They are [H, N, N], values by keys. Raises CheckpointError for a wrong shape, a missing layer,
    or values that are not finite.
    """
    state = empty_state(config)
    tuned = {name: tensor for name, tensor in tensors.items() if is_tuned_state(name)}
    if not tuned:
        return state
    if not config.heads:
        raise CheckpointError(f"{path}: RWKV-4 has no time_state")
    for layer in range(config.layers):
        name = f"blocks.{layer}.att.time_state"
        if name not in tuned:
            raise CheckpointError(f"{path}: tensor {name} is missing")
        tensor, shape = tuned.pop(name), state["wkv"][layer].shape
        if tensor.shape != shape or not tensor.is_float:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise CheckpointError(f"{path}: tensor {name} is {found}, expected {list(shape)}")
        values = tensor.to_float32()
        if not np.isfinite(values).all():
            raise CheckpointError(f"{path}: tensor {name} has values that are not finite")
        state["wkv"][layer] = values.transpose(0, 2, 1)
    if tuned:
        name = next(iter(tuned))
        raise CheckpointError(f"{path}: tensor {name}: the model has {config.layers} layers")
    return state


def read_initial_state(config: ModelConfig, path: Path) -> StateArrays:
    """The state of a file that state tuning wrote. Raises CheckpointError."""
    tensors = open_checkpoint(path).tensors
    for name in tensors:
        if not is_tuned_state(name):
            raise CheckpointError(
                f"{path}: tensor {name[:120]} is no part of a state (blocks.N.att.time_state)"
            )
    return initial_state(config, path, tensors)
