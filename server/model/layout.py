"""Which tensors of a checkpoint make which field of Weights: model/tensors.py with numbers."""

from dataclasses import dataclass
from math import prod

from server.model.config import ModelConfig, sizes_of
from server.model.tensors import Change, Field, Kind, fields_of, resolve, tensor_names


@dataclass(frozen=True)
class Part:
    """One field of Weights: its tensors, in the order of its leading dimensions."""

    field: str
    kind: Kind
    sources: tuple[str | None, ...]
    """Tensor names; None stands for zeros, where a layer has no such tensor."""
    leading: tuple[int, ...]
    """Dimensions that count the sources, and the matrices of one tensor. Of a deep embedding, whose
    sources are two for each layer, it is the second dimension."""
    rows: int = 1
    columns: int = 1
    change: Change = "none"
    value: float = 0.0
    """Of a setting."""


def parts_of(config: ModelConfig) -> list[Part]:
    """All fields of the generation's Weights."""
    return [_part(field, config) for field in fields_of(config.generation)]


def _part(field: Field, config: ModelConfig) -> Part:
    layers = range(config.layers if field.per_layer else 1)
    sources = tuple(name for layer in layers for name in tensor_names(field, layer))
    shape = resolve(field.shape, sizes_of(config))
    if field.kind == "vectors":
        leading = (len(layers), len(field.tensors)) if field.per_layer else (len(sources),)
        if len(field.tensors) == 1:
            leading = leading[:1]
        return Part(field.name, "vectors", sources, leading, 1, _width(shape, config), field.change)
    if field.kind == "setting":
        return Part(field.name, "setting", (), (1,), value=getattr(config, field.name))
    if field.kind == "embedding":
        return Part(field.name, "embedding", sources, (), shape[0], shape[1])
    if field.kind == "deep_embedding":
        return Part(field.name, "deep_embedding", sources, (len(layers),), shape[0], shape[1])
    if field.kind == "exact_matrix":
        return Part(field.name, "exact_matrix", sources, (len(sources),), shape[0], shape[1])
    if field.kind == "matrix":
        return Part(field.name, "matrix", sources, (len(layers),), shape[0], shape[1])
    *several, columns, rows = shape
    rows, columns = max(rows, 1), max(columns, 1)  # an empty matrix would have no address
    return Part(field.name, "low_rank", sources, (len(layers) * prod(several),), rows, columns)


def _width(shape: tuple[int, ...], config: ModelConfig) -> int:
    """How many values of a vector there are in the end: of channels, unless it says otherwise."""
    return shape[-1] if shape[:2] == (1, 1) else config.dim
