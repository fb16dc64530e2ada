"""From a checkpoint to the arrays that the kernels read, by way of a file that workers share."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError
from server.kernels.matrices import FloatMatrix, Int4Matrix, Int8Matrix
from server.kernels.pack import aligned_zeros
from server.kernels.team import Team
from server.model.config import ModelConfig
from server.model.generations import GENERATIONS
from server.model.layout import Part, parts_of
from server.model.packed_config import is_packed
from server.model.packed_file import (
    DTYPE_KEY,
    MODEL_KEY,
    REVISION_KEY,
    MappedArrays,
    PackedFile,
    fingerprint,
)
from server.model.packed_model import map_packed, packed_parts
from server.model.packing import Layout, Packer, Storage, arrays_of, storage_of
from server.model.revisions import PACKING_REVISION

log = logging.getLogger(__name__)

WeightType = Literal["float32", "bfloat16", "int8", "int4"]
Array = npt.NDArray[Any]

INT8_PARAMETERS = 50_000_000
"""From this size on "auto" is int8: below it speed is not the memory's."""

OnProgress = Callable[[str, int, int], None]
"""Called with (stage, bytes done, bytes in all); a total of 0 is unknown."""


@dataclass(frozen=True)
class WeightsCache:
    """A folder of packed weights, which is kept within a number of bytes."""

    folder: Path
    limit: int
    thorough: bool = False
    """Whether all bytes of a file are read at every start, not only when it has changed."""


@dataclass(frozen=True)
class LoadedWeights:
    """The Weights of an architecture, and what is known of them."""

    weights: Any
    checksums: Mapping[str, int] | None
    """CRC-32 of each array by its name in the layout, where the packed file has it."""


def choose_dtype(wanted: str, config: ModelConfig) -> WeightType:
    """Resolve "auto": int8 for large models; for small ones what the checkpoint's values need.

    Of a packed model it is what that is packed as.
    """
    if wanted == "auto" and config.packed_as:
        wanted = config.packed_as
    if wanted == "auto":
        if config.parameters >= INT8_PARAMETERS:
            return "int8"
        return "bfloat16" if config.stored_dtype in ("bfloat16", "float16") else "float32"
    if wanted not in get_args(WeightType):
        raise ValueError(f"unknown weight type {wanted!r}")
    return wanted  # type: ignore[return-value]


def load_weights(
    checkpoint: Checkpoint,
    config: ModelConfig,
    dtype: WeightType,
    team: Team,
    cache: WeightsCache | None,
    on_progress: OnProgress,
) -> Any:
    """The Weights of load(), alone."""
    return load(checkpoint, config, dtype, team, cache, on_progress).weights


def load(
    checkpoint: Checkpoint,
    config: ModelConfig,
    dtype: WeightType,
    team: Team,
    cache: WeightsCache | None,
    on_progress: OnProgress,
) -> LoadedWeights:
    """Map the packed weights, or pack them first; without a cache into memory.

    Raises CheckpointError for values that are not finite, or too large for the dtype, and for a
    packed model of another dtype.
    """
    if is_packed(checkpoint):
        return _map_packed_model(checkpoint, config, dtype, cache, on_progress)
    parts = storages_of(checkpoint, config, dtype)
    layout = layout_of(parts)
    mapped = None
    if cache is not None:
        try:
            mapped = _from_cache(checkpoint, parts, layout, team, cache, dtype, on_progress)
        except OSError as error:
            log.warning("packed weights are not kept: %s", error)
    if mapped is not None:
        return LoadedWeights(build_weights(config, parts, mapped.arrays), mapped.checksums)
    arrays = {n: aligned_zeros(shape, NUMPY_DTYPES[d]) for n, (d, shape) in layout.items()}
    pack_weights(checkpoint, parts, arrays, team, dtype, on_progress)
    return LoadedWeights(build_weights(config, parts, arrays), None)


def storages_of(
    checkpoint: Checkpoint, config: ModelConfig, dtype: WeightType
) -> list[tuple[Part, Storage]]:
    """The parts of a model, and how each is kept when its weights are of a dtype."""

    def dtype_of(name: str) -> str:
        return checkpoint.tensors[name].dtype

    return [(part, storage_of(part, dtype, dtype_of)) for part in parts_of(config)]


def layout_of(parts: list[tuple[Part, Storage]]) -> Layout:
    """All arrays of a model, those of wide vectors first, so that in a file they lie aligned."""
    layout: Layout = {}
    for part, storage in parts:
        layout |= arrays_of(part, storage)

    def width_of_vectors(name: str) -> int:
        dtype, shape = layout[name]
        if dtype == "uint8":
            return 64
        return NUMPY_DTYPES[dtype].itemsize * (shape[-1] if "." in name else 1)

    return {name: layout[name] for name in sorted(layout, key=width_of_vectors, reverse=True)}


def _map_packed_model(
    checkpoint: Checkpoint,
    config: ModelConfig,
    dtype: WeightType,
    cache: WeightsCache | None,
    on_progress: OnProgress,
) -> LoadedWeights:
    if dtype != config.packed_as:
        raise CheckpointError(
            f"{checkpoint.path}: packed as {config.packed_as}, not {dtype}: leave out --dtype, or "
            "convert the model again"
        )
    parts = packed_parts(checkpoint, config)
    layout = layout_of(parts)
    records = cache.folder if cache is not None and not cache.thorough else None
    checking = partial(on_progress, f"checking packed {dtype} weights")
    mapped = map_packed(checkpoint, layout, records, checking)
    return LoadedWeights(build_weights(config, parts, mapped.arrays), mapped.checksums)


def _from_cache(
    checkpoint: Checkpoint,
    parts: list[tuple[Part, Storage]],
    layout: Layout,
    team: Team,
    cache: WeightsCache,
    dtype: WeightType,
    on_progress: OnProgress,
) -> MappedArrays | None:
    settings = str([part.value for part, _ in parts])
    revision = str(PACKING_REVISION)
    name = fingerprint(checkpoint, dtype, revision, settings)
    about = {MODEL_KEY: str(checkpoint.path), DTYPE_KEY: dtype, REVISION_KEY: revision}
    file = PackedFile(cache.folder, name, checkpoint, layout, about)
    checking = partial(on_progress, f"checking packed {dtype} weights")
    mapped = file.read(cache.thorough, checking)
    if mapped is None:
        file.write(
            cache.limit, lambda out: pack_weights(checkpoint, parts, out, team, dtype, on_progress)
        )
        mapped = file.read(cache.thorough, checking)
    return mapped


def pack_weights(
    checkpoint: Checkpoint,
    parts: list[tuple[Part, Storage]],
    arrays: Mapping[str, Array],
    team: Team,
    dtype: WeightType,
    on_progress: OnProgress,
) -> None:
    """Fill the arrays of a layout, which are zero. Raises CheckpointError as load_weights does."""
    names = [name for part, _ in parts for name in part.sources if name is not None]
    total = sum(checkpoint.tensors[name].nbytes for name in names)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        on_progress(f"packing weights as {dtype}", done, total)

    packer = Packer(checkpoint, team, on_bytes)
    for part, storage in parts:
        packer.pack(part, storage, arrays)


def build_weights(
    config: ModelConfig, parts: list[tuple[Part, Storage]], arrays: Mapping[str, Array]
) -> Any:
    """The arrays of a layout, now read-only, as the generation's Weights."""
    for array in arrays.values():
        # Mapped ones are read-only, and kernels are compiled for one or the other.
        array.flags.writeable = False
    fields: dict[str, Any] = {}
    for part, storage in parts:
        if part.kind in ("vectors", "embedding", "deep_embedding", "setting"):
            fields[part.field] = arrays[part.field]
            continue
        codes = arrays[f"{part.field}.codes"]
        if storage in ("int8", "int4"):
            kind = Int8Matrix if storage == "int8" else Int4Matrix
            fields[part.field] = kind(codes, arrays[f"{part.field}.scales"])
        else:
            fields[part.field] = FloatMatrix(codes)
    return GENERATIONS[config.generation].weights(**fields)
