"""Checkpoints of EmbeddingRWKV: an embedding model, and the reranker that belongs to one.

A trainer's module has its parts behind prefixes: `rwkv.` RWKV-7, `head.` the heads for embeddings,
`reranker.` the reranker, `vit.`, `proj.` and `pool.` what reads images. Released files have those
that were trained (https://github.com/howard-hou/EmbeddingRWKV).
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error

HEADS = ("cls", "sts", "retr")
"""What tensors call the heads of an embedding model."""
LAYERS_KEY = "reranker_layer_idx"
"""In the metadata: which layers of the embedding model a reranker reads, as 0,2,4."""

_HEAD = re.compile(rf"((?:\w+\.)*?)head\.(?:{'|'.join(HEADS)})_head\.", re.ASCII)
_RERANKER = re.compile(r"((?:\w+\.)*?)reranker\.", re.ASCII)
_NOT_READ = ("vit.", "proj.", "pool.", "reranker.")
_MOST_LAYERS = 10_000
_OLD_NAMES = {"token.weight": "emb.weight"}
"""Of rerankers."""


def with_plain_names(checkpoint: Checkpoint) -> Checkpoint:
    """What these prefixes are taken off: of an embedding model or a reranker; all else as it is.

    An embedding model has the official names and `head.*_head.*`; a reranker has the official names
    and `head.0.*` and `head.2.weight`. Raises CheckpointError.
    """
    names = checkpoint.tensors
    if found := next(filter(None, map(_HEAD.match, names)), None):
        return replace(checkpoint, tensors=_of_model(checkpoint, found[1]))
    if found := next(filter(None, map(_RERANKER.match, names)), None):
        return _reranker(checkpoint, found[1])
    return checkpoint


def released_name(official: str) -> str:
    """What an embedding model's file calls a tensor."""
    return official if official.startswith("head.") else f"rwkv.{official}"


def layers_read(checkpoint: Checkpoint) -> list[int] | None:
    """The layers that a reranker reads, in the order of its own; None: its file does not say.

    Raises CheckpointError.
    """
    text = checkpoint.metadata.get(LAYERS_KEY)
    if text is None:
        return None
    parts = text.split(",")
    if not all(re.fullmatch(r"-?\d{1,4}", part, re.ASCII) for part in parts):
        raise CheckpointError(
            f"{checkpoint.path}: {LAYERS_KEY} must be whole numbers (got {text[:80]!r})"
        )
    return [int(part) for part in parts]


def _of_model(checkpoint: Checkpoint, prefix: str) -> Mapping[str, Tensor]:
    has_prefix = any(name.startswith(f"{prefix}rwkv.") for name in checkpoint.tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        plain = name.removeprefix(prefix)
        # What once predicted text is a part of some files, and no vector depends on it.
        if plain.startswith(_NOT_READ) or plain in ("rwkv.head.weight", "head.weight"):
            continue
        if has_prefix and not plain.startswith(("rwkv.", "head.")):
            raise tensor_error(checkpoint.path, name, "is not part of an embedding model")
        _add(checkpoint, found, tensor, plain.removeprefix("rwkv."))
    return found


def _reranker(checkpoint: Checkpoint, prefix: str) -> Checkpoint:
    found: dict[str, Tensor] = {}
    metadata = dict(checkpoint.metadata)
    for name, tensor in checkpoint.tensors.items():
        plain = name.removeprefix(prefix)
        if plain == LAYERS_KEY:
            if tensor.is_float or not 0 < tensor.data.size < _MOST_LAYERS:
                raise tensor_error(checkpoint.path, name, "is not a list of layers")
            metadata[LAYERS_KEY] = ",".join(str(int(n)) for n in tensor.data.reshape(-1))
        elif plain.startswith("reranker."):
            official = plain.removeprefix("reranker.")
            _add(checkpoint, found, tensor, _OLD_NAMES.get(official, official))
    return replace(checkpoint, tensors=found, metadata=metadata)


def _add(checkpoint: Checkpoint, found: dict[str, Tensor], tensor: Tensor, name: str) -> None:
    if name in found:
        raise tensor_error(checkpoint.path, tensor.name, f"{name[:120]} is there under two names")
    found[name] = replace(tensor, name=name)
