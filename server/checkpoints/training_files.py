"""The model within what a pickle holds: a state dict, or a trainer's dictionary with one in it."""

from collections.abc import Mapping
from typing import NamedTuple

from server.checkpoints.embedding_rwkv import LAYERS_KEY
from server.checkpoints.foreign_pickles import STRATEGY, explain_entries
from server.checkpoints.pickled_values import PickleError, TensorReference

MAX_TENSORS = 16_384

_INSIDE = ("state_dict", "module", "model", "model_state_dict", "weights")
"""What Lightning, DeepSpeed and others call the state dict in their dictionaries."""
_MOST_NESTED = 3
_MOST_LAYERS = 10_000


class StateDict(NamedTuple):
    """What a file holds of a model."""

    tensors: dict[str, TensorReference]
    metadata: dict[str, str]


def model_in(pickled: object) -> StateDict:
    """The tensors; optimizers, settings and the like beside the state dict are left out.

    Raises PickleError for what holds no model, or two.
    """
    found = _innermost(pickled, _MOST_NESTED)
    if not isinstance(found, dict) or not found:
        raise PickleError("it does not hold a state dict")
    if made := explain_entries(found):
        raise PickleError(made)
    if len(found) > MAX_TENSORS:
        raise PickleError(f"its state dict has {len(found)} tensors, over {MAX_TENSORS}")
    metadata = {}
    if layers := _whole_numbers(found.get(LAYERS_KEY)):
        metadata[LAYERS_KEY] = layers
    for name, value in found.items():
        if isinstance(name, str) and (name in metadata or name.endswith("_extra_state")):
            continue
        if not isinstance(name, str) or not isinstance(value, TensorReference):
            raise PickleError(
                f"entry {str(name)[:80]} is not a tensor; save the model's state_dict() alone"
            )
        if not name.isascii() and name != name.encode("utf-8", "replace").decode():
            raise PickleError(f"the name of tensor {name[:80]} is not valid Unicode")
    tensors = {name: value for name, value in found.items() if isinstance(value, TensorReference)}
    return StateDict(tensors, metadata)


def _whole_numbers(value: object) -> str:
    """A short list or tuple of them as 0,2,4; empty for anything else."""
    if not isinstance(value, list | tuple) or len(value) > _MOST_LAYERS:
        return ""
    are_whole = all(type(number) is int and abs(number) < _MOST_LAYERS for number in value)
    return ",".join(map(str, value)) if are_whole else ""


def _innermost(value: object, levels: int) -> object:
    """The dictionary that has the blocks of a model, at the top or within; else the value."""
    if not isinstance(value, dict) or _has_blocks(value) or not levels:
        return value
    inside = {key: _innermost(value.get(key), levels - 1) for key in _INSIDE}
    models = [key for key, found in inside.items() if isinstance(found, dict) and _is_model(found)]
    if len(models) > 1:
        raise PickleError(
            f"it holds two models, {models[0]} and {models[1]}; save one of them alone"
        )
    return inside[models[0]] if models else value


def _is_model(found: Mapping[object, object]) -> bool:
    return _has_blocks(found) or STRATEGY in found


def _has_blocks(found: Mapping[object, object]) -> bool:
    return any(
        isinstance(value, TensorReference)
        and isinstance(name, str)
        and ("blocks." in name or "layers." in name)
        for name, value in found.items()
    )
