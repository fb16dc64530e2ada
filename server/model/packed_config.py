"""What a packed model says about itself: the metadata of its safetensors file.

A packed model holds the arrays that the kernels read (model/packing.py), and no tensors of a
checkpoint beside tuned initial states.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from server.checkpoints.checkpoint import PACKED, PACKED_KEY, Checkpoint, CheckpointError
from server.model.tensors import fields_of

REVISION_KEY, CONFIG_KEY = "revision", "config"
TOKENIZER_KEY = "tokenizer"
"""In the metadata: `world`, `bytes` or the name of a file that went beside the packed one."""

LAYOUT_REVISION = 1
"""Of the packed arrays. To be raised with any change of their names, shapes, order or values:
model/layout.py and packing.py, and the kernels that pack. A test compares it with their bytes."""

_MAX_CONFIG_CHARACTERS = 1 << 14

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]


class PackedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of ModelConfig with their bounds; `packed_as` is the weight type."""

    generation: str
    layers: Annotated[int, msgspec.Meta(ge=1, le=9999)]
    dim: _Count
    heads: _Size
    head_size: _Size
    vocab_size: _Count
    ffn_dim: _Count
    ranks: dict[str, _Size]
    group_norm_epsilon: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    parameters: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
    stored_dtype: Annotated[str, msgspec.Meta(max_length=32)]
    packed_as: Literal["float32", "bfloat16", "int8", "int4"]


def is_packed(checkpoint: Checkpoint) -> bool:
    """Whether it is a packed model, of whatever revision."""
    return checkpoint.metadata.get(PACKED_KEY) == PACKED


def packed_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """What the metadata must hold of a model, given the fields of its ModelConfig."""
    return {
        PACKED_KEY: PACKED,
        REVISION_KEY: str(LAYOUT_REVISION),
        CONFIG_KEY: msgspec.json.encode(config).decode(),
    }


def read_packed_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of a packed model's ModelConfig, which its arrays do not contradict.

    Raises CheckpointError, also for another revision of the layout.
    """
    path, metadata = checkpoint.path, checkpoint.metadata
    revision = metadata.get(REVISION_KEY, "none")
    if revision != str(LAYOUT_REVISION):
        raise CheckpointError(
            f"{path}: packed in layout revision {revision[:20]}, this version reads "
            f"{LAYOUT_REVISION}: convert the model again"
        )
    text = metadata.get(CONFIG_KEY, "")
    if len(text) > _MAX_CONFIG_CHARACTERS:
        raise CheckpointError(f"{path}: config: longer than {_MAX_CONFIG_CHARACTERS} characters")
    try:
        config = msgspec.json.decode(text, type=PackedConfig)
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{path}: config: {error}; convert the model again") from None
    _check(checkpoint, config)
    return msgspec.structs.asdict(config)


def _check(checkpoint: Checkpoint, config: PackedConfig) -> None:
    """The sizes fit each other and the arrays that have most of them; loading checks all arrays."""
    path = checkpoint.path
    try:
        fields = fields_of(config.generation)
    except KeyError:
        name = config.generation[:20]
        raise CheckpointError(f"{path}: config: generation {name} is not known") from None
    is_headless = config.generation == "rwkv4"
    if config.heads * config.head_size != (0 if is_headless else config.dim) or (
        is_headless and config.heads + config.head_size
    ):
        raise CheckpointError(
            f"{path}: config: {config.heads} heads of {config.head_size} do not make dimension "
            f"{config.dim}"
        )
    ranks = {size for field in fields for size in re.findall("[a-z]+", field.shape)}
    if set(config.ranks) != ranks:
        raise CheckpointError(f"{path}: config: ranks are not {', '.join(sorted(ranks)) or 'none'}")
    wanted = {"embedding": (config.vocab_size, config.dim), "receptance.codes": (config.layers,)}
    for name, shape in wanted.items():
        tensor = checkpoint.tensors.get(name)
        if tensor is None or tensor.shape[: len(shape)] != shape:
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
            raise CheckpointError(
                f"{path}: array {name} is {found}, which its config contradicts; "
                "convert the model again"
            )
