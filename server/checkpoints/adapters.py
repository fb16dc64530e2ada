"""Merging fine-tuned adapters into a checkpoint, a piece at a time, when its tensors are read.

Known are what RWKV-PEFT writes (github.com/Joluck/RWKV-PEFT) – LoRA pairs, PiSSA next to its
initial weights, the shared matrix that was called Bone and DiSHA in its two forms (Bone and Bat),
and whole tensors that replace the model's – and LoRA, Bone and MiSS of Hugging Face's PEFT, which
RWKV-PEFT uses since October 2025.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.checkpoints.adapter_files import Adapter, open_adapter
from server.checkpoints.adapter_merges import (
    Floats,
    add_block_products,
    add_product,
    add_shared_rows,
    changed,
)
from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.contents import Form, is_tuned_state, part_of
from server.checkpoints.huggingface_names import official_name

_PREFIXES = re.compile(r"(?:_forward_module\.|module\.|base_model\.|model\.|rwkv7?\.)+")
"""What trainers and PEFT put before the official names."""


_Parts = dict[str, Tensor]
"""What changes one tensor of the model, by kind; "" is a whole tensor."""


def apply_adapter(checkpoint: Checkpoint, path: Path, alpha: float | None) -> Checkpoint:
    """The checkpoint with an adapter merged, a file or a PEFT folder, whose alpha is known.

    Raises CheckpointError that names the adapter's file and tensor.
    """
    adapter = open_adapter(path)
    form = _form(adapter)
    if alpha is not None and form != "LoRA":
        title = "whole tensors have" if form is None else f"{_title(form)} has"
        hint = " (a LoRA needs a folder without init_pissa.pth)" if form == "PiSSA" else ""
        raise CheckpointError(f"{path}: {title} no alpha; leave out :{alpha:g}{hint}")
    adapter = adapter if alpha is None else replace(adapter, alpha=alpha)
    if form == "LoRA" and adapter.alpha is None:
        raise CheckpointError(
            f"{path}: a LoRA; give its alpha as {path.name}:ALPHA (PiSSA, whose tensors have these "
            "names too, has no alpha but needs its init_pissa.pth next to it)"
        )
    tensors = dict(checkpoint.tensors)
    for name, parts in _by_target(adapter, checkpoint).items():
        tensors[name] = _change(adapter, tensors.get(name), parts, form)
    digest = hashlib.sha256(f"{checkpoint.changes} {form} {adapter.alpha} ".encode())
    for name, tensor in sorted(adapter.tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}{tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor.data).tobytes())
    return replace(checkpoint, tensors=tensors, changes=digest.hexdigest()[:32])


def _title(form: Form) -> str:
    return {"Bone": "Bone (DiSHA)", "PEFT block": "MiSS (Bone)"}.get(form, form)


def _form(adapter: Adapter) -> Form | None:
    """The one form of a file; None for whole tensors only. PiSSA has LoRA's pairs as well."""
    forms: dict[Form, str] = {}
    for name, tensor in adapter.tensors.items():
        if not tensor.is_float:
            why = f"has dtype {tensor.dtype}, expected floating point"
            raise _error(adapter.path, tensor, why)
        if not np.isfinite(tensor.to_float32()).all():
            raise _error(adapter.path, tensor, "has values that are not finite")
        if form := part_of(name).form:
            forms.setdefault(form, name)
    if "PiSSA" in forms:
        forms.pop("LoRA", None)
    found = list(forms)
    if len(found) > 1:
        raise tensor_error(
            adapter.path,
            forms[found[1]],
            f"of {_title(found[1])}, but {forms[found[0]][:120]} is of {_title(found[0])}; one "
            "file holds one form",
        )
    if found and adapter.expected not in (None, found[0]):
        why = f"of {_title(found[0])}, but the configuration is of {_title(adapter.expected)}"
        raise tensor_error(adapter.path, forms[found[0]], why)
    return found[0] if found else None


def _by_target(adapter: Adapter, checkpoint: Checkpoint) -> dict[str, _Parts]:
    """The model's tensor → what changes it."""
    targets: dict[str, _Parts] = {}
    for name, tensor in adapter.tensors.items():
        part = part_of(name)
        target = _target_name(part.module, bool(part.kind), checkpoint)
        if target not in checkpoint.tensors and not is_tuned_state(target):
            raise CheckpointError(
                f"{adapter.path}: the model has no tensor {target[:120]} to change"
            )
        parts = targets.setdefault(target, {})
        if part.kind in parts:
            other = parts[part.kind].name
            raise _error(adapter.path, tensor, f"is there twice: {other[:120]} is it as well")
        parts[part.kind] = tensor
    return targets


def _target_name(module: str, is_part: bool, checkpoint: Checkpoint) -> str:
    """The official name; that of the file without its prefixes where there is none."""
    full = f"{module}.weight" if is_part else module
    for name in (full, _PREFIXES.sub("", full, count=1)):
        if name in checkpoint.tensors:
            return name
    plain = full.removeprefix("base_model.model.")
    for name in (plain, f"model.{plain}"):
        found = official_name(name)
        if found is not None and found[1] == "as is":
            return found[0]
    return _PREFIXES.sub("", full, count=1)


def _change(adapter: Adapter, base: Tensor | None, parts: _Parts, form: Form | None) -> Tensor:
    path = adapter.path
    whole = parts.get("")
    if whole is not None:
        if base is not None and whole.shape != base.shape:
            why = f"has shape {list(whole.shape)}, expected {list(base.shape)}"
            raise _error(path, whole, why)
        base = replace(whole, name=_PREFIXES.sub("", whole.name) if base is None else base.name)
    assert base is not None  # only a state can be new, and it is a whole tensor
    if set(parts) <= {""}:
        return base
    if form in ("Bone", "PEFT block"):
        kind, tensor = next((kind, tensor) for kind, tensor in parts.items() if kind)
        if len(parts) - ("" in parts) > 1:
            raise _error(path, tensor, "is there twice, under an old name and under a new one")
        return _shared(adapter, base, tensor, kind)
    up, down = _pair(adapter, base, parts, "lora_A", "lora_B")
    if form == "PiSSA":
        initial_up, initial_down = _pair(adapter, base, parts, "init_lora_A", "init_lora_B")
        base = changed(base, add_product(-initial_up, initial_down))
        return changed(base, add_product(up, down))
    assert adapter.alpha is not None
    return changed(base, add_product(up * np.float32(adapter.alpha / len(down)), down))


def _pair(
    adapter: Adapter, base: Tensor, parts: Mapping[str, Tensor], a_kind: str, b_kind: str
) -> tuple[Floats, Floats]:
    """B [outputs, r] and A [r, inputs]."""
    for kind, other in ((a_kind, b_kind), (b_kind, a_kind)):
        if kind not in parts:
            there = parts[other] if other in parts else next(iter(parts.values()))
            raise _error(adapter.path, there, f"comes without its {kind}")
    a, b = parts[a_kind], parts[b_kind]
    rank = a.shape[0] if len(a.shape) == 2 else 0
    if not rank or (b.shape[:1], b.shape[1:], a.shape[1:]) != (
        base.shape[:1], (rank,), base.shape[1:],
    ):  # fmt: skip
        shapes = f"{list(b.shape)} and {list(a.shape)}"
        raise _error(
            adapter.path, a, f"and its pair have shapes {shapes}, expected {list(base.shape)}"
        )
    _check_rank(adapter, a, rank)
    return b.to_float32(), a.to_float32()


def _check_rank(adapter: Adapter, tensor: Tensor, rank: int) -> None:
    if adapter.rank not in (None, rank):
        raise _error(
            adapter.path, tensor, f"has rank {rank}, but the configuration says {adapter.rank}"
        )


def _shared(adapter: Adapter, base: Tensor, tensor: Tensor, kind: str) -> Tensor:
    """Bone and Bat, by the number of dimensions; of PEFT also what the configuration says."""
    rows, columns = base.shape if len(base.shape) == 2 else (0, 0)
    shape, is_peft = tensor.shape, kind.endswith("_block")
    values, rank = tensor.to_float32(), shape[-1] if len(shape) == 3 else shape[0] if shape else 0
    if rank and rows:
        _check_rank(adapter, tensor, rank)
    width = adapter.mini_rank if adapter.shared == "mini" else rows
    if len(shape) == 2 and adapter.shared != "bat" and 0 < rank <= columns:
        if width and shape[1] == width and rows % width == 0:
            return changed(base, add_shared_rows(np.tile(values, (1, rows // width)).T))
        if is_peft and adapter.shared is None and shape[1] and rows % shape[1] == 0:
            raise _error(
                adapter.path, tensor, f"has shape {list(shape)}: give the folder with its "
                f"adapter_config.json, which says whether it is repeated over {rows} outputs",
            )  # fmt: skip
    # No trainer is known that writes blocks under the bare name: they could go by either.
    if len(shape) == 3 and kind != "miss" and adapter.shared in (None, "bat") and rank and rows:
        blocks = (rows if is_peft else columns) // rank
        if rows % rank == 0 and columns % rank == 0 and shape == (blocks, rank, rank):
            by = "row" if is_peft else "column"
            return changed(base, add_block_products(values, by), rank)
    why = f"has shape {list(shape)}, which is no change of {list(base.shape)}"
    raise _error(adapter.path, tensor, why)


def _error(path: Path, tensor: Tensor, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {tensor.name[:120]} {why}")
