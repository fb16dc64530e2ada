"""Merging fine-tuned adapters into a checkpoint, a piece at a time, when its tensors are read.

Known are what RWKV-PEFT writes (github.com/JL-er/RWKV-PEFT, merge/) – LoRA pairs, DiSHA in its two
forms (Bone and Bat), and whole tensors that replace the model's – and LoRA of Hugging Face's PEFT.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.huggingface_names import official_name
from server.checkpoints.json_file import read_json_object
from server.checkpoints.reader import open_checkpoint

Floats = npt.NDArray[np.float32]
Change = Callable[[Floats, slice], Floats]
"""From some rows of a matrix to what they become."""

_LORA_A, _LORA_B, _DISHA = ".lora_A", ".lora_B", ".disha"
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, eq=False)
class ChangedTensor(Tensor):
    """A tensor whose values an adapter changes."""

    base: Tensor = field(kw_only=True)
    change: Change = field(kw_only=True)
    block: int = 1
    """The change takes whole blocks of so many rows."""

    @property
    def is_plain(self) -> bool:
        """Never: its data are what the values were before."""
        return False

    def to_float32(self, rows: slice = slice(None)) -> Floats:
        """[rows, …] after the change."""
        start, stop, _ = rows.indices(self.shape[0])
        first = start - start % self.block
        last = min(stop + -stop % self.block, self.shape[0])
        rows = slice(first, last)
        values = self.change(self.base.to_float32(rows), rows)
        return values[start - first : stop - first]


def apply_adapter(checkpoint: Checkpoint, path: Path, alpha: float | None) -> Checkpoint:
    """The checkpoint with an adapter merged, a file or a PEFT folder, whose alpha is known.

    Raises CheckpointError that names the adapter's file and tensor.
    """
    adapter, configured = _open(path)
    if alpha is None:
        alpha = configured
    tensors = dict(checkpoint.tensors)
    for name, parts in _by_target(adapter).items():
        if name not in checkpoint.tensors:
            raise CheckpointError(f"{path}: the model has no tensor {name[:120]} to change")
        tensors[name] = _change(path, tensors[name], parts, alpha)
    digest = hashlib.sha256(f"{checkpoint.changes} {alpha} ".encode())
    for name, tensor in sorted(adapter.tensors.items()):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(tensor.data).tobytes())
    return replace(checkpoint, tensors=tensors, changes=digest.hexdigest()[:32])


def _open(path: Path) -> tuple[Checkpoint, float | None]:
    """The adapter's tensors, and alpha where a PEFT configuration says it."""
    if not path.is_dir():
        return open_checkpoint(path), None
    config = path / "adapter_config.json"
    found = read_json_object(config)
    if found is None:
        raise CheckpointError(f"{path}: a folder without adapter_config.json is no adapter")
    alpha = found.get("lora_alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise CheckpointError(f"{config}: lora_alpha must be a positive number")
    for option in ("use_rslora", "use_dora", "fan_in_fan_out", "alpha_pattern", "rank_pattern"):
        if found.get(option):
            raise CheckpointError(f"{config}: {option} is not supported; merge the adapter first")
    return open_checkpoint(path / "adapter_model.safetensors"), float(alpha)


def _by_target(adapter: Checkpoint) -> dict[str, dict[str, Tensor]]:
    """The model's tensor → what changes it, by kind; "" is the whole tensor."""
    targets: dict[str, dict[str, Tensor]] = {}
    for name, tensor in adapter.tensors.items():
        target, kind = name, ""
        for suffix in (_LORA_A, _LORA_B, _DISHA):
            if (plain := name.removesuffix(".weight")).endswith(suffix):
                target, kind = plain.removesuffix(suffix) + ".weight", suffix
        if target.startswith(_PEFT_PREFIX):
            peft = target.removeprefix(_PEFT_PREFIX)
            found = official_name(peft)
            target = found[0] if found is not None and found[1] == "as is" else peft
        if not tensor.is_float:
            raise _error(adapter.path, tensor, f"has dtype {tensor.dtype}, expected floating point")
        targets.setdefault(target, {})[kind] = tensor
    if not targets:
        raise CheckpointError(f"{adapter.path}: there is no tensor in it")
    return targets


def _change(path: Path, base: Tensor, parts: Mapping[str, Tensor], alpha: float | None) -> Tensor:
    for kind, tensor in parts.items():
        if kind == "":
            if tensor.shape != base.shape:
                raise _error(
                    path, tensor, f"has shape {list(tensor.shape)}, expected {list(base.shape)}"
                )
            base = replace(tensor, name=base.name)
    if _DISHA in parts:
        disha = parts[_DISHA]
        block = disha.shape[-1] if len(disha.shape) == 3 else 1
        return _changed(base, _disha(path, base, disha), block)
    if _LORA_A in parts or _LORA_B in parts:
        return _changed(base, _lora(path, base, parts, alpha))
    return base


def _changed(base: Tensor, change: Change, block: int = 1) -> Tensor:
    kept = {name: getattr(base, name) for name in Tensor.__dataclass_fields__}
    return ChangedTensor(**kept, base=base, change=change, block=block)


def _lora(path: Path, base: Tensor, parts: Mapping[str, Tensor], alpha: float | None) -> Change:
    for kind, other in ((_LORA_A, _LORA_B), (_LORA_B, _LORA_A)):
        if kind not in parts:
            raise _error(path, parts[other], f"comes without its {kind.removeprefix('.')}")
    a, b = parts[_LORA_A], parts[_LORA_B]
    rank = a.shape[0] if len(a.shape) == 2 else 0
    if not rank or (b.shape[:1], b.shape[1:], a.shape[1:]) != (
        base.shape[:1], (rank,), base.shape[1:],
    ):  # fmt: skip
        shapes = f"{list(b.shape)} and {list(a.shape)}"
        raise _error(path, a, f"and its pair have shapes {shapes}, expected {list(base.shape)}")
    if alpha is None:
        raise CheckpointError(f"{path}: a LoRA; give its alpha as {path.name}:ALPHA")
    down, up = a.to_float32(), b.to_float32() * np.float32(alpha / rank)
    return partial(_add_lora, down, up)


def _add_lora(down: Floats, up: Floats, values: Floats, rows: slice) -> Floats:
    """values + up down, in one order whatever the machine, which a library's product is not."""
    total = values.copy()
    for row, column in zip(down, up[rows].T, strict=True):
        total += column[:, None] * row
    return total


def _disha(path: Path, base: Tensor, tensor: Tensor) -> Change:
    rows, columns = base.shape if len(base.shape) == 2 else (0, 0)
    values, rank = tensor.to_float32(), tensor.shape[-1] if len(tensor.shape) == 3 else 0
    if len(tensor.shape) == 2 and rows and tensor.shape[1] == rows and tensor.shape[0]:
        return partial(_add_bone, values.T)
    is_whole = rank and rows % rank == 0 and columns % rank == 0
    if is_whole and tensor.shape == (columns // rank, rank, rank):
        return partial(_add_bat, values)
    raise _error(
        path, tensor, f"has shape {list(tensor.shape)}, which is no change of {list(base.shape)}"
    )


def _add_bone(shared: Floats, values: Floats, rows: slice) -> Floats:
    """Each row [inputs] of the matrix gets its row of shared [outputs, r], again and again."""
    times = -(-values.shape[1] // shared.shape[1])
    return values + np.tile(shared[rows], (1, times))[:, : values.shape[1]]


def _add_bat(blocks: Floats, values: Floats, _: slice) -> Floats:
    """Each r × r block W of the matrix, in column b, becomes W + W D_b + D_b."""
    rank, total = blocks.shape[1], values.copy()
    for b, block in enumerate(blocks):
        for first in range(0, len(values), rank):
            place = slice(first, first + rank), slice(b * rank, (b + 1) * rank)
            product = block.copy()
            for column, row in zip(values[place].T, block, strict=True):
                product += column[:, None] * row
            total[place] += product
    return total


def _error(path: Path, tensor: Tensor, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {tensor.name[:120]} {why}")
