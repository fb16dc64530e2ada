"""Tensors of one value per channel of a head, [H, N], in whatever shape an exporter left them.

Dimensions of 1 change nothing. Where all channels are in one row, the tensor does not tell the size
of a head any more, and nothing else in a model of RWKV-5 to 7 does: then config.json or a tuned
state has to, and the file is refused without. RWKV-5.2 would be taken for 5.1 with heads of one
channel otherwise.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError, Tensor, tensor_error
from server.checkpoints.derived import reshaped

HEAD_SIZES = ("head_dim", "head_size")
"""What config.json calls the channels of a head."""
LARGEST_HEAD = 256
"""Channels of the largest single head that a tensor tells by itself; they have 64 or 128."""

_OF_HEADS = re.compile(r"(blocks\.\d{1,4}\.att\.)(r_k|time_faaaa|time_first|time_decay)", re.ASCII)
_OF_RWKV6 = ("time_maa_x", "time_mix_x")
"""Beside these the decay is a row of channels."""
_TIME_STATE = "blocks.0.att.time_state"


def with_heads(
    path: Path, tensors: Mapping[str, Tensor], config_path: Path | None, config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The tensors that are not [H, N] though they have C values, made so. Raises CheckpointError.

    `tensors` have their official names; of adapters and states none is changed.
    """
    changed = {}
    for tensor, channels in _of_heads(tensors):
        shape = _squeezed(tensor)
        if len(shape) == 1:
            size = _head_size(path, tensors, config_path, config, tensor)
            if channels % size:
                raise tensor_error(
                    path, tensor.name, f"has {channels} values, which are not heads of {size}"
                )
            shape = (channels // size, size)
        changed[tensor.name] = reshaped(tensor, shape)
    return changed


def has_flat_heads(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the size of a head has to be told by something else than the tensors of heads."""
    return any(len(_squeezed(tensor)) == 1 for tensor, _ in _of_heads(tensors))


def _of_heads(tensors: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, int]]:
    """Those to be changed, and how many channels the model has."""
    embedding = tensors.get("emb.weight")
    if embedding is None or len(embedding.shape) != 2:
        return
    for name, tensor in tensors.items():
        match, channels = _OF_HEADS.fullmatch(name), embedding.shape[1]
        if match is None or _is_pair(tensor, channels):
            continue
        if f"{match[1]}ln_x.weight" not in tensors:
            continue  # RWKV-4 has no heads
        if match[2] == "time_decay" and any(match[1] + row in tensors for row in _OF_RWKV6):
            continue
        squeezed = _squeezed(tensor)
        is_pair = len(squeezed) == 2 and squeezed[0] * squeezed[1] == channels
        if is_pair or squeezed == (channels,):
            yield tensor, channels


def _is_pair(tensor: Tensor, channels: int) -> bool:
    """Whether a tensor is [H, N]. One large head is taken for all heads in one row."""
    shape = tensor.shape
    return len(shape) == 2 and shape[1] > 1 and (shape[0] > 1 or channels <= LARGEST_HEAD)


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if size != 1)


def _head_size(
    path: Path,
    tensors: Mapping[str, Tensor],
    config_path: Path | None,
    config: Mapping[str, Any],
    tensor: Tensor,
) -> int:
    said = {key: config[key] for key in HEAD_SIZES if config.get(key) is not None}
    for key, size in said.items():
        if type(size) is not int or size < 1:
            raise CheckpointError(f"{config_path}: {key} is {str(size)[:40]}, not a size")
    state = tensors.get(_TIME_STATE)
    if state is not None and state.shape:
        said[_TIME_STATE] = state.shape[-1]
    sizes = set(said.values())
    if len(sizes) == 1:
        return int(sizes.pop())
    if sizes:
        found = ", ".join(f"{key} {size}" for key, size in said.items())
        raise tensor_error(path, tensor.name, f"is flattened, and the size of a head is {found}")
    raise tensor_error(
        path,
        tensor.name,
        f"is flattened {list(tensor.shape)}, and nothing tells the size of a head; put a "
        'config.json with "head_dim" next to it (64 in all published models)',
    )
