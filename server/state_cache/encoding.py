"""Snapshots as bytes: safetensors, with what they depend on and a checksum of all of it.

The same bytes are what the tiers of the cache keep, what a named state is stored as, what passes
between processes, and what a client exports and imports.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError
from server.checkpoints.safetensors import parse_safetensors
from server.checkpoints.writer import safetensors_header
from server.model.revisions import FINGERPRINT_MARK
from server.state_cache.snapshot import Snapshot

FORMAT = "rwkv-state"
VERSION = "1"
StoredType = Literal["float32", "float16"]
StateShapes = Mapping[str, tuple[int, ...]]

_HEADER_BYTES = 4096
"""The header of a named state is smaller: a few names and numbers."""
MOST_TOKEN_IDS = 1 << 20
"""That a named state keeps of its own; one of a longer text has none."""
_CALLED = Path("state")
_LOGITS, _TOKEN_IDS, _CHECKSUM = "logits", "token_ids", "sha256"


class SnapshotError(ValueError):
    """Bytes that are no whole snapshot, or one that does not fit: one line."""


@dataclass(frozen=True, eq=False)
class StoredSnapshot:
    """A snapshot and what it depends on."""

    snapshot: Snapshot
    fingerprint: str
    """Of the model and its arithmetic."""
    namespace: str = ""
    """What else it depends on, and whose it is; empty for a named state."""
    token_ids: npt.NDArray[np.int32] | None = None
    """[tokens], the ids that led to it; None where a named state is not known to have them all."""
    checksum: str = ""
    """Hexadecimal, of all this; set by decode_snapshot."""


@dataclass(frozen=True)
class SnapshotCodec:
    """Encodes and decodes the snapshots of one model."""

    fingerprint: str
    shapes: StateShapes
    vocab_size: int

    @property
    def largest_bytes(self) -> int:
        """No encoded state is larger, but for its token ids."""
        floats = self.vocab_size + sum(map(math.prod, self.shapes.values()))
        return floats * np.dtype(np.float32).itemsize + _HEADER_BYTES

    @property
    def largest_file_bytes(self) -> int:
        """The same with as many token ids as a state keeps."""
        return self.largest_bytes + MOST_TOKEN_IDS * np.dtype(np.int32).itemsize

    def encode(self, snapshot: Snapshot, token_ids: npt.NDArray[np.int32] | None = None) -> bytes:
        """As a named state, with the ids that led to it if they are known."""
        if token_ids is not None and len(token_ids) > MOST_TOKEN_IDS:
            token_ids = None
        return encode_snapshot(StoredSnapshot(snapshot, self.fingerprint, token_ids=token_ids))

    def decode(self, data: bytes) -> StoredSnapshot:
        """Raises SnapshotError, also for a state of another model."""
        stored = self.decode_any(data)
        if stored.fingerprint != self.fingerprint:
            raise SnapshotError(
                f"state: made by {stored.fingerprint[:60]!r}, while this model is "
                f"{self.fingerprint!r}: other weights, weight type or version of the server"
            )
        return stored

    def differs_in_arithmetic(self, fingerprint: str) -> bool:
        """Whether it is of the same weights, computed with in another way: then ids can be read."""
        weights, mark, arithmetic = fingerprint.partition(FINGERPRINT_MARK)
        own_weights, own_mark, own_arithmetic = self.fingerprint.partition(FINGERPRINT_MARK)
        same = (weights, mark) == (own_weights, own_mark) and mark != ""
        return same and arithmetic != own_arithmetic

    def decode_any(self, data: bytes) -> StoredSnapshot:
        """The same for a state of these shapes, whatever made it."""
        stored = decode_snapshot(data, self.shapes, self.vocab_size)
        ids = stored.token_ids
        if ids is not None and not ((ids >= 0) & (ids < self.vocab_size)).all():
            raise SnapshotError(f"state: {_TOKEN_IDS} are not all below {self.vocab_size}")
        return stored


def encode_snapshot(stored: StoredSnapshot, dtype: StoredType = "float32") -> bytes:
    """As a safetensors file; float16 halves it and rounds.

    Raises SnapshotError for values beyond float16's range.
    """
    snapshot = stored.snapshot
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    logits = {} if snapshot.logits is None else {_LOGITS: snapshot.logits}
    for name, array in (snapshot.state | logits).items():
        with np.errstate(over="ignore"):
            arrays[name] = np.ascontiguousarray(array, NUMPY_DTYPES[dtype])
        if dtype == "float16" and not np.isfinite(arrays[name]).all():
            raise SnapshotError(f"state: {name} has values that float16 cannot hold")
    if stored.token_ids is not None:
        arrays[_TOKEN_IDS] = np.ascontiguousarray(stored.token_ids, np.int32)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": stored.fingerprint,
        "namespace": stored.namespace,
        "tokens": str(snapshot.tokens),
    }
    metadata[_CHECKSUM] = _checksum(metadata, arrays)
    ordered = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    layout = {name: (arrays[name].dtype.name, arrays[name].shape) for name in ordered}
    header, _ = safetensors_header(layout, metadata)
    return b"".join([header, *(arrays[name].data for name in ordered)])


def decode_snapshot(data: bytes, shapes: StateShapes, vocab_size: int) -> StoredSnapshot:
    """The snapshot that was encoded, if it is whole and of a state of these shapes.

    Its float32 arrays are views of `data`. Raises SnapshotError.
    """
    try:
        file = parse_safetensors(_CALLED, data)
    except CheckpointError as error:
        raise SnapshotError(str(error)) from None
    tokens = _check_metadata(file)
    arrays = {name: tensor.data for name, tensor in file.tensors.items()}
    checksum = _checksum(file.metadata, arrays)
    if file.metadata[_CHECKSUM] != checksum:
        raise SnapshotError("state: the checksum is wrong: the file was altered or damaged")
    expected = dict(shapes)
    if _LOGITS in arrays:
        expected[_LOGITS] = (vocab_size,)
    if _TOKEN_IDS in arrays:
        expected[_TOKEN_IDS] = (tokens,)
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        raise SnapshotError(f"state: tensors {_named(found)}, this model has {_named(expected)}")
    token_ids = arrays.pop(_TOKEN_IDS, None)
    if token_ids is not None and token_ids.dtype != np.int32:
        raise SnapshotError(f"state: {_TOKEN_IDS} are {token_ids.dtype}, expected int32")
    floats = {name: _to_float32(name, array) for name, array in arrays.items()}
    logits = floats.pop(_LOGITS, None)
    return StoredSnapshot(
        snapshot=Snapshot(tokens, floats, logits),
        fingerprint=file.metadata["fingerprint"],
        namespace=file.metadata["namespace"],
        token_ids=token_ids,  # type: ignore[arg-type]
        checksum=checksum,
    )


def _check_metadata(file: Checkpoint) -> int:
    """The number of tokens. Raises SnapshotError where something is missing."""
    metadata = file.metadata
    if metadata.get("format") != FORMAT:
        raise SnapshotError(f"state: not a state that was exported: format is not {FORMAT}")
    if metadata.get("version") != VERSION:
        raise SnapshotError(f"state: version {metadata.get('version')!r:.40}, expected {VERSION}")
    for key in ("fingerprint", "namespace", "tokens", _CHECKSUM):
        if key not in metadata:
            raise SnapshotError(f"state: metadata has no {key}")
    tokens = metadata["tokens"]
    if not (tokens.isascii() and tokens.isdecimal() and len(tokens) <= 18):
        raise SnapshotError(f"state: tokens is {tokens!r:.40}, expected a number")
    return int(tokens)


def _to_float32(name: str, array: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if array.dtype not in (np.float32, np.float16):
        raise SnapshotError(f"state: {name} is {array.dtype}, expected float32 or float16")
    values: npt.NDArray[np.float32] = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise SnapshotError(f"state: {name} has values that are not finite")
    return values


def _checksum(metadata: Mapping[str, str], arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    said = {key: value for key, value in metadata.items() if key != _CHECKSUM}
    layout = {name: [array.dtype.name, array.shape] for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([said, layout], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(arrays[name].data)
    return digest.hexdigest()


def _named(shapes: StateShapes) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))[:200]
