"""What a state depends on besides its tokens, as one name that is the same on every machine."""

import hashlib
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from server.kernels.jit import TARGET
from server.model.block_checksums import checksums_of
from server.model.initial_state import StateArrays
from server.model.loading import LoadedWeights
from server.model.revisions import ARITHMETIC_REVISION, FINGERPRINT_MARK


def state_fingerprint(
    loaded: LoadedWeights, states: Mapping[str, StateArrays], threads: int
) -> str:
    """Of all bytes of the weights and the initial states, and of the arithmetic.

    Checksums that came with the weights are trusted, so that a start need not read all bytes.
    """
    digest = hashlib.sha256()
    for checksum in _checksums(loaded, threads):
        digest.update(checksum.to_bytes(4, "little"))
    for name, state in sorted(states.items()):
        digest.update(name.encode() + b"\0")
        for array in state.values():
            digest.update(_bytes_of(array))
    return digest.hexdigest()[:32] + FINGERPRINT_MARK + arithmetic_name()


def arithmetic_name() -> str:
    """Of what decides the bits that are computed from the same weights.

    All tiers of instructions with fused multiply-adds give the same. Neither Numba nor the C
    library has a part: the mathematical functions of the forward pass are kernels.
    """
    name = f"{ARITHMETIC_REVISION}-{platform.machine()}"
    return name if TARGET.has_fma else f"{name}-without-fma"


def _checksums(loaded: LoadedWeights, threads: int) -> list[int]:
    """Of the arrays of the weights, in the order of the fields."""
    if loaded.checksums is None:
        return checksums_of(_arrays(loaded.weights), threads)
    known = loaded.checksums
    names = [
        name
        for field in loaded.weights._fields
        for name in (field, f"{field}.codes", f"{field}.scales")
    ]
    return [known[name] for name in names if name in known]


def _arrays(weights: Any) -> Iterator[Any]:
    """The arrays of nested named tuples, in order."""
    if isinstance(weights, np.ndarray):
        yield weights
    elif isinstance(weights, tuple):
        for part in weights:
            yield from _arrays(part)


def _bytes_of(array: Any) -> memoryview:
    data: memoryview = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return data
