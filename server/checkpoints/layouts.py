"""What the names of official tensors leave open: which way round a matrix is, what a bonus means.

A name alone decides nothing here. Two layouts have these names: the official one, and that of Ai00
and web-rwkv (assets/scripts/convert_safetensors.py and crates/converter of Ai00-X/ai00_server),
whose .st files have every tensor as float16, `time_faaaa` called `time_first` and `time_maa` called
`time_mix`, and low-rank matrices and `time_state` transposed. Evidence is what only one of them
has: names, shapes of matrices that are not square, dtypes, what the header says. What stays open is
refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.derived import computed, transposed

LAYOUT_KEY, AI00 = "layout", "ai00"
"""In the metadata of a file that has it, as our converter writes it."""
WRITTEN_BY_US = ("generation", LAYOUT_KEY)
"""Metadata that tell that our converter wrote the file, which says what layout it is of."""

LOW_RANK = re.compile(r"blocks\.\d{1,4}\.att\.([wavg]|time_(?:maa|mix|decay)_w)([12])", re.ASCII)
TIME_STATE = re.compile(r"blocks\.\d{1,4}\.att\.time_state", re.ASCII)
_FIRST = "blocks.0.att."
_NEVER_AI00 = {"time_faaaa", "time_maa_x"}  # which Ai00's converter renames
_ADVICE = "convert the .pth that it was made of"


def with_official_layout(checkpoint: Checkpoint) -> Checkpoint:
    """Official names become official tensors. Raises CheckpointError for what is ambiguous.

    Of RWKV-5 the bonus is `time_faaaa`, itself, as in the later revisions.
    """
    if checkpoint.container == "GGUF":
        return checkpoint  # its header tells the converter, whose changes are undone
    evidence = _look_at(checkpoint)
    _check_decay(checkpoint)
    tensors = {}
    for tensor in checkpoint.tensors.values():
        made = _official(checkpoint, evidence, tensor)
        if made.name in tensors:
            raise tensor_error(checkpoint.path, tensor.name, f"{made.name} is there as well")
        tensors[made.name] = made
    metadata = {key: text for key, text in checkpoint.metadata.items() if key != LAYOUT_KEY}
    return replace(checkpoint, tensors=tensors, metadata=metadata)


def _check_decay(checkpoint: Checkpoint) -> None:
    """RWKV-4's time_decay is w, of which exp(−exp(w)) is taken; some converters store −exp(w).

    Every layer of a model has channels that forget at once (w up to 3 from the beginning), so all
    are negative only where that was done.
    """
    names = [name for name in checkpoint.tensors if name.endswith(".att.time_decay")]
    first = f"{_FIRST}time_first"
    if first not in checkpoint.tensors or f"{_FIRST}ln_x.weight" in checkpoint.tensors:
        return
    for name in names:
        tensor = checkpoint.tensors[name]
        if not tensor.is_float or not (tensor.to_float32() < 0).all():
            return
    if names:
        raise tensor_error(
            checkpoint.path,
            names[0],
            "is negative throughout, in all layers: -exp(time_decay), as converters for inference "
            f"store it; {_ADVICE}",
        )


@dataclass(frozen=True)
class _Evidence:
    """What the file as a whole shows."""

    may_be_ai00: bool
    """Nothing is against it: safetensors, all float16, not by our converter, no official name."""
    is_renamed: bool
    """It has names that Ai00's converter gives, and no official checkpoint has."""
    is_transposed: bool
    has_gate: bool
    is_rwkv5: bool


def _look_at(checkpoint: Checkpoint) -> _Evidence:
    tensors, metadata = checkpoint.tensors, checkpoint.metadata
    names = {name.removeprefix(_FIRST) for name in tensors if name.startswith(_FIRST)}
    is_ours = any(key in metadata for key in WRITTEN_BY_US)
    is_half = all(t.dtype == "float16" for t in tensors.values() if t.is_float)
    has_gate, is_rwkv5 = "gate.weight" in names, "ln_x.weight" in names
    is_rwkv5 = is_rwkv5 and not names & {"r_k", "k_k", "time_maa_x", "time_mix_x"}
    is_file = checkpoint.container == "safetensors"
    is_renamed = "time_mix_w1" in names or (
        is_file and has_gate and is_rwkv5 and "time_first" in names
    )
    is_open = is_file and is_half and not is_ours and not names & _NEVER_AI00
    is_marked = metadata.get(LAYOUT_KEY) == AI00
    return _Evidence(
        may_be_ai00=is_open,
        is_renamed=is_renamed,
        is_transposed=_is_transposed(checkpoint, is_open, is_renamed or is_marked),
        has_gate=has_gate,
        is_rwkv5=is_rwkv5,
    )


def _is_transposed(checkpoint: Checkpoint, is_open: bool, is_known: bool) -> bool:
    """Which way round the low-rank matrices are; without any, what the names say."""
    seen: dict[bool, Tensor] = {}
    square: Tensor | None = None
    for tensor, side in _low_rank(checkpoint.tensors):
        way = _way_round(checkpoint, tensor, side)
        if way is not None:
            seen.setdefault(way, tensor)
        elif tensor.shape[-2] == tensor.shape[-1]:
            square = square or tensor
    if len(seen) == 2:
        raise tensor_error(
            checkpoint.path,
            seen[True].name,
            f"{list(seen[True].shape)} is transposed, and {seen[False].name} "
            f"{list(seen[False].shape)} is not: a mixture of two layouts; {_ADVICE}",
        )
    if seen:
        return next(iter(seen))
    if square is not None and is_open and not is_known:
        raise tensor_error(
            checkpoint.path,
            square.name,
            f"is square {list(square.shape)}, like all its kind, so nothing tells whether Ai00's "
            f"converter transposed it; {_ADVICE}",
        )
    return is_known


def _low_rank(tensors: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, str]]:
    for name, tensor in tensors.items():
        match = LOW_RANK.fullmatch(name)
        if match is not None and len(tensor.shape) >= 2:
            yield tensor, match[2]


def _way_round(checkpoint: Checkpoint, tensor: Tensor, side: str) -> bool | None:
    """Whether it is transposed; None where its shape does not tell, or is wrong either way."""
    embedding = checkpoint.tensors.get("emb.weight")
    if embedding is None or len(embedding.shape) != 2:
        return None
    dim, (rows, columns) = embedding.shape[1], tensor.shape[-2:]
    if (rows == dim) == (columns == dim):
        return None
    return (rows == dim) == (side == "2")


def _official(checkpoint: Checkpoint, evidence: _Evidence, tensor: Tensor) -> Tensor:
    name = tensor.name
    if name.endswith(".att.time_first") and (evidence.is_rwkv5 or evidence.is_renamed):
        return _bonus(checkpoint, evidence, tensor)
    if evidence.is_renamed and ".time_mix_" in name and not evidence.is_rwkv5:
        tensor = replace(tensor, name=name.replace("time_mix", "time_maa"))
    if LOW_RANK.fullmatch(name):
        is_matrix = len(tensor.shape) >= 2
        return transposed(tensor) if evidence.is_transposed and is_matrix else tensor
    if TIME_STATE.fullmatch(name):
        return _state(checkpoint, evidence, tensor)
    return tensor


def _bonus(checkpoint: Checkpoint, evidence: _Evidence, tensor: Tensor) -> Tensor:
    """RWKV-5.0 had the logarithm of the bonus, called time_first; later it is time_faaaa."""
    name = tensor.name.replace("time_first", "time_faaaa")
    if evidence.is_renamed:
        return replace(tensor, name=name)
    if evidence.has_gate and checkpoint.container != "rwkv.cpp":
        raise tensor_error(
            checkpoint.path,
            tensor.name,
            "is there with a gate, where the official name is time_faaaa: it may be the bonus, or "
            "its logarithm; rename it to time_faaaa if it is the bonus",
        )
    if evidence.may_be_ai00:
        raise tensor_error(
            checkpoint.path,
            tensor.name,
            "may be the logarithm of the bonus (RWKV-5.0), or the bonus, which Ai00's converter "
            f"calls so, too; {_ADVICE}",
        )
    return replace(computed(tensor, np.exp), name=name)


def _state(checkpoint: Checkpoint, evidence: _Evidence, tensor: Tensor) -> Tensor:
    if evidence.is_renamed or evidence.is_transposed:
        if len(tensor.shape) < 2:
            raise tensor_error(checkpoint.path, tensor.name, f"has shape {list(tensor.shape)}")
        return transposed(tensor)
    if not evidence.may_be_ai00:
        return tensor
    raise CheckpointError(
        f"{checkpoint.path}: tensor {tensor.name[:120]}: a state of float16, square, which Ai00's "
        "converter transposes and others do not; use the .pth that it was made of"
    )
