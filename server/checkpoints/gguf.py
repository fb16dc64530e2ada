"""Reading the weights of GGUF files: RWKV-6 and RWKV-7 as llama.cpp stores them."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
from gguf.constants import Keys

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.derived import computed, entries, reshaped, transposed
from server.checkpoints.ggml import view_ggml_tensor
from server.checkpoints.gguf_header import GgufHeader, read_gguf_header
from server.checkpoints.gguf_names import (
    ARCHITECTURES,
    FUSED,
    MODEL,
    VALUE_RESIDUAL,
    Architecture,
    Entry,
    split_layer,
)
from server.checkpoints.gguf_vocabulary import chat_template
from server.checkpoints.huggingface_config import count_layers

_HYBRIDS = {"rwkv6qwen2": "QRWKV-6", "arwkv7": "ARWKV-7"}


def read_gguf(path: Path) -> Checkpoint:
    """Map a GGUF file as the official tensors. Raises CheckpointError, one line.

    The metadata has `chat_template` where the file has one.
    """
    header = read_gguf_header(path)
    architecture = _architecture(header)
    undo = _Undo(header, architecture)
    tensors: dict[str, Tensor] = {}
    for stored in header.tensors:
        tensor = view_ggml_tensor(
            header.mapped, stored.name, stored.dtype, stored.shape, stored.offset
        )
        try:
            made = undo(tensor)
        except ValueError as error:
            if isinstance(error, CheckpointError):
                raise
            raise tensor_error(path, stored.name, str(error)) from None
        for new in made:
            if new.name in tensors:
                raise tensor_error(path, stored.name, f"{new.name} occurs twice")
            tensors[new.name] = new
    _check_counts(header, architecture.name, tensors)
    template = chat_template(header)
    return Checkpoint(path, {} if template is None else {"chat_template": template}, tensors)


def _check_counts(header: GgufHeader, arch: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a header of another model than the tensors, such as one whose last layers are gone."""
    embedding, hidden = tensors.get("emb.weight"), tensors.get("blocks.0.ffn.key.weight")
    if embedding is None or hidden is None or {len(embedding.shape), len(hidden.shape)} != {2}:
        return  # which model/config.py refuses
    for key, number in {
        Keys.LLM.BLOCK_COUNT: count_layers(tensors),
        Keys.LLM.EMBEDDING_LENGTH: embedding.shape[1],
        Keys.LLM.FEED_FORWARD_LENGTH: hidden.shape[0],
    }.items():
        said = header.count(key.format(arch=arch))
        if said is not None and said != number:
            raise CheckpointError(
                f"{header.path}: {key.format(arch=arch)} is {said}, but by the tensors it is "
                f"{number}: a part of a model, or two models in one file; convert it again"
            )


def _architecture(header: GgufHeader) -> Architecture:
    name = header.text(Keys.General.ARCHITECTURE) or "none"
    kind = header.text(Keys.General.TYPE) or "model"
    if kind != "model":
        what = "a LoRA" if kind == "adapter" else "no model"
        raise CheckpointError(
            f"{header.path}: a GGUF of type {kind[:40]}, {what}; pass an adapter as --adapter, in "
            "the form that PEFT or RWKV-PEFT wrote"
        )
    if name in _HYBRIDS:
        raise CheckpointError(
            f"{header.path}: {_HYBRIDS[name]} ({name}), a Qwen model with RWKV's attention, is not "
            "supported; only rwkv6 and rwkv7 are"
        )
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"{header.path}: a GGUF of architecture {name}; only rwkv6 and rwkv7 are supported"
        )
    return ARCHITECTURES[name]


class _Undo:
    """From a stored tensor to the official ones that it holds: one, several or none."""

    def __init__(self, header: GgufHeader, architecture: Architecture) -> None:
        self._architecture = architecture
        self._model = {entry.gguf: entry for entry in MODEL}
        self._layer = {entry.gguf: entry for entry in (*architecture.layer, *architecture.separate)}
        arch = architecture.name
        self._head_size_key = Keys.WKV.HEAD_SIZE.format(arch=arch)
        self._head_size = header.count(self._head_size_key)
        self._rescale = 0
        if architecture.rescaled:
            self._rescale = header.count(Keys.LLM.RESCALE_EVERY_N_LAYERS.format(arch=arch)) or 0

    def __call__(self, tensor: Tensor) -> list[Tensor]:
        place = split_layer(tensor.name)
        if place is None:
            return [self._official(tensor, self._model.get(tensor.name), "")]
        layer, name = place
        prefix = f"blocks.{layer}."
        if name == FUSED:
            return self._unfused(tensor, prefix)
        made = self._official(tensor, self._layer.get(name), prefix)
        official = made.name.removeprefix(prefix)
        if layer == 0 and official in VALUE_RESIDUAL:
            return []
        if self._rescale and official in self._architecture.rescaled:
            exponent = layer // self._rescale
            made = computed(made, lambda values: np.ldexp(values, exponent))
        return [made]

    def _unfused(self, tensor: Tensor, prefix: str) -> list[Tensor]:
        names = self._architecture.fused
        if tensor.shape[0] != len(names):
            raise ValueError(f"has shape {list(tensor.shape)}, expected {len(names)} rows")
        return [
            _row(replace(part, name=prefix + name))
            for name, part in zip(names, entries(tensor), strict=True)
        ]

    def _official(self, tensor: Tensor, entry: Entry | None, prefix: str) -> Tensor:
        if entry is None:
            raise ValueError(f"is not part of {self._architecture.name}")
        tensor = replace(tensor, name=prefix + entry.official)
        if entry.layout == "row":
            return _row(tensor)
        if entry.layout == "transposed":
            return transposed(tensor)
        if entry.layout == "flat":
            channels, size = prod(tensor.shape), self._head_size
            if size is None:
                raise ValueError(f"{self._head_size_key} is missing from the header")
            if not size or channels % size:
                raise ValueError(f"{channels} values do not make heads of {size}")
            return reshaped(tensor, (channels // size, size))
        return tensor


def _row(tensor: Tensor) -> Tensor:
    return reshaped(tensor, (1, 1, prod(tensor.shape)))
