"""The states that sequences begin with: empty, or tuned, from a checkpoint or a file of its own."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.adapter_files import PEFT_CONFIG
from server.checkpoints.checkpoint import CheckpointError, Tensor
from server.checkpoints.contents import is_adapter, is_tuned_state, is_whole_model
from server.checkpoints.reader import open_checkpoint
from server.model.config import ModelConfig

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
    """The state that a checkpoint's own tuned tensors make; an empty one if it has none.

    `time_state` are [H, N, N], values by keys; with `ts_state` of both mixes, [C], the shifts of
    the first token see these instead of zeros. Raises CheckpointError for a wrong shape, a missing
    layer, or values that are not finite.
    """
    state = empty_state(config)
    tuned = {name: tensor for name, tensor in tensors.items() if is_tuned_state(name)}
    if not tuned:
        return state
    if not config.heads:
        raise CheckpointError(f"{path}: RWKV-4 has no time_state")
    shifts = [name for name in tuned if name.endswith(".ts_state")]
    if shifts and not config.generation.startswith("rwkv7"):
        raise CheckpointError(f"{path}: tensor {shifts[0]}: only RWKV-7 has a ts_state")
    for layer in range(config.layers):
        values = _take(tuned, path, f"blocks.{layer}.att.time_state", state["wkv"][layer])
        state["wkv"][layer] = values.transpose(0, 2, 1)
        for mix, part in enumerate(("att", "ffn") if shifts else ()):
            shift = state["shift"][layer, mix]
            shift[:] = _take(tuned, path, f"blocks.{layer}.{part}.ts_state", shift)
    if tuned:
        name = next(iter(tuned))
        raise CheckpointError(f"{path}: tensor {name}: the model has {config.layers} layers")
    return state


def _take(
    tuned: dict[str, Tensor], path: Path, name: str, like: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The values of a tensor that has such a shape, which is then no longer among the rest."""
    if name not in tuned:
        raise CheckpointError(f"{path}: tensor {name} is missing")
    tensor = tuned.pop(name)
    if tensor.shape != like.shape or not tensor.is_float:
        found = f"{tensor.dtype} {list(tensor.shape)}"
        raise CheckpointError(f"{path}: tensor {name} is {found}, expected {list(like.shape)}")
    values = tensor.to_float32()
    if not np.isfinite(values).all():
        raise CheckpointError(f"{path}: tensor {name} has values that are not finite")
    return values


def read_initial_state(config: ModelConfig, path: Path) -> StateArrays:
    """The state of a file that state tuning wrote. Raises CheckpointError."""
    if path.is_dir():
        is_peft = (path / PEFT_CONFIG).exists()
        what = (
            "an adapter: pass it as --adapter FOLDER" if is_peft else "name the file of the state"
        )
        raise CheckpointError(f"{path}: a folder, not a state; {what}")
    tensors = open_checkpoint(path).tensors
    other = next((name for name in tensors if not is_tuned_state(name)), None)
    if other is not None:
        raise CheckpointError(f"{path}: tensor {other[:120]} {_what_else(tensors)}")
    if not tensors:
        raise CheckpointError(f"{path}: there is no tensor in it")
    return initial_state(config, path, tensors)


def _what_else(tensors: Mapping[str, Tensor]) -> str:
    if is_adapter(tensors):
        return "is of an adapter, not of a state: pass the file as --adapter FILE"
    if is_whole_model(tensors):
        return "is of a whole model, not of a state: serve the file as MODEL"
    return "is no part of a state (blocks.N.att.time_state)"
