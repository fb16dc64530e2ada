"""The tensors of a file or folder under their official names, whoever named them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError, Tensor, tensor_error
from server.checkpoints.huggingface_names import Resolved, resolve_name
from server.checkpoints.huggingface_tensors import official_tensors

_TRAINING = re.compile(
    r"(optimizers?|optim|optimizer_states?|lr_schedulers?|scheduler|grad_scaler|scaler)\..+",
    re.ASCII,
)
"""What trainers keep beside a model, and no model has."""
_LARGEST_COUNTER = 8
"""Bytes."""


def official_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Name → tensor as the official checkpoint has them; None when they are so already.

    Beside a model's weights, states of optimizers and buffers of integers are left out. Raises
    CheckpointError for two tensors of one name, and for layers named by two schemes.
    """
    found = {name: resolve_name(name) for name in tensors}
    if not any(found.values()):
        return None
    kept = {name: tensors[name] for name in tensors if not _is_beside(tensors[name], found[name])}
    if len(kept) == len(found) and all(_is_official(n, resolved) for n, resolved in found.items()):
        return None
    _check_one_scheme(path, found)
    renamed: dict[str, Tensor] = {}
    for name, tensor in kept.items():
        resolved = found[name]
        parts = [tensor]
        if resolved is not None:
            parts = list(official_tensors(tensor, resolved.official, resolved.change))
        for part in parts:
            if part.name in renamed:
                raise tensor_error(path, name, f"{part.name[:120]} is there under two names")
            renamed[part.name] = part
    return renamed


def with_shared(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> Mapping[str, Tensor]:
    """The tensors and those that safetensors' save_model() left out, since others share them.

    Its metadata say which: left out → kept. Raises CheckpointError when the kept one is missing.
    """
    shared = {}
    for name, kept in metadata.items():
        if name in tensors or resolve_name(name) is None or resolve_name(kept) is None:
            continue
        if kept not in tensors:
            raise tensor_error(path, name, f"shares {kept[:120]}, which is missing")
        shared[name] = replace(tensors[kept], name=name)
    return {**tensors, **shared} if shared else tensors


def _is_official(name: str, resolved: Resolved | None) -> bool:
    return resolved is None or (resolved.official, resolved.change) == (name, "as is")


def _is_beside(tensor: Tensor, resolved: Resolved | None) -> bool:
    """Whether it is no part of the model, though it came with it."""
    if resolved is None and _TRAINING.fullmatch(tensor.name):
        return True
    if tensor.is_float or tensor.name.endswith((".weight", ".bias")):
        return False
    # Integers of a block are a counter, unless they are its weights, quantised by somebody.
    return resolved is None or tensor.nbytes <= _LARGEST_COUNTER


def _check_one_scheme(path: Path, found: Mapping[str, Resolved | None]) -> None:
    first = ""
    for name, resolved in found.items():
        if resolved is None or not resolved.official.startswith("blocks."):
            continue
        if not first:
            first, scheme = name, resolved.scheme
        elif resolved.scheme != scheme:
            raise CheckpointError(
                f"{path}: tensor {name[:120]} and {first[:120]} are named by two exporters: a "
                "mixture of two files; use one of them"
            )
