"""Top-n-sigma (Tang et al., 2024): keeps tokens by how far their logits are from the largest."""

import numpy as np
import numpy.typing as npt

from server.sampling.edits import Edits
from server.sampling.params import SamplingParams

Row = npt.NDArray[np.float32]
_NEVER = np.float32(-np.inf)
_LANES = 512


def keep_near(row: Row, sigmas: float) -> None:
    """Ban what is more than so many standard deviations below the largest; only finite ones count.

    Sums have one order, so that the same row has the same border everywhere.
    """
    is_finite = np.isfinite(row)
    finite = (row if is_finite.all() else row[is_finite]).astype(np.float64)
    if not len(finite):
        return
    mean = _sum(finite) / len(finite)
    apart = finite - mean
    deviation = np.sqrt(_sum(apart * apart) / len(finite))
    row[row < finite.max() - sigmas * deviation] = _NEVER


def edit(
    row: Row, params: SamplingParams, edits: Edits, bits: npt.NDArray[np.uint32] | None
) -> None:
    """What the sampler's kernel does to logits before anything else, in the same numbers."""
    if bits is not None:
        allowed = np.unpackbits(bits.view(np.uint8), bitorder="little", count=len(row))
        row[allowed == 0] = _NEVER
    if len(edits.allowed.tokens):
        kept = row[edits.allowed.tokens]
        row[:] = _NEVER
        row[edits.allowed.tokens] = kept
    np.add.at(row, edits.biases.tokens, edits.biases.values)
    _penalize(row, params, edits)
    np.add.at(row, edits.repeats.tokens, edits.repeats.values)


def _penalize(row: Row, params: SamplingParams, edits: Edits) -> None:
    """As in the kernel, in float64 and rounded after each step."""
    tokens, counts = edits.counts
    if not len(tokens):
        return
    logits, repetition = row[tokens], params.repetition_penalty
    wide = logits.astype(np.float64)
    logits = np.where(logits > 0, wide / repetition, wide * repetition).astype(np.float32)
    frequency = params.frequency_penalty * counts.astype(np.float64)
    row[tokens] = logits.astype(np.float64) - (params.presence_penalty + frequency)


def _sum(values: npt.NDArray[np.float64]) -> np.float64:
    """In an order that depends on nothing but their number: lanes, each of them one by one."""
    whole = len(values) - len(values) % _LANES
    lanes = np.add.reduce(values[:whole].reshape(-1, _LANES), axis=0)
    total: np.float64 = np.add.accumulate(np.concatenate([lanes, values[whole:]]))[-1]
    return total
