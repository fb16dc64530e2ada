"""Choosing the next token of each row: penalties, temperature, top-k, top-p, draw.

Thresholds are found by radix selection over the bits of the probabilities, so nothing is sorted.
Sums run in float64 in the order of the ids: the same row gives the same token in any batch.
"""

import math

import numpy as np
from numba import uint64

from server.kernels.jit import kernel
from server.kernels.team import share

BINS = 2048
NO_TOKEN = -1
"""What is sampled from a row without a single finite logit."""

_BIN_BITS = 11
# Probabilities are float32 in [0, 1]: their bits order as integers and need 30 of the 32 bits.
_LEVELS = 3
_KEY_BITS = _BIN_BITS * _LEVELS


@kernel
def uniform(seed, position):
    """A number in [0, 1) that depends on nothing but (seed, position): splitmix64, twice."""
    golden = uint64(0x9E3779B97F4A7C15)
    mixed = _mix(uint64(seed) + golden)
    mixed = _mix(mixed + golden * (uint64(position) + uint64(1)))
    return float(mixed >> uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def _mix(z):
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@kernel
def sample_rows(team, thread, threads, logits, vocab, rows, penalties, bins, tokens):
    """Sample one token for each row; every thread does some rows.

    logits [R, ≥ vocab] float32 are overwritten. rows: RowParams arrays of length R. penalties:
    PenaltyLists. bins [threads, 2048] float64 is scratch. tokens [R] int64 is the result.
    """
    begin, end = share(thread, threads, tokens.shape[0])
    for r in range(begin, end):
        row = logits[r, :vocab]
        first, last = penalties.starts[r], penalties.starts[r + 1]
        _penalize(row, penalties, first, last, rows, r)
        best = _argmax(row)
        if best == NO_TOKEN or rows.temperature[r] == 0:
            tokens[r] = best
            continue
        _to_weights(row, row[best], rows.temperature[r])
        if 0 < rows.top_k[r] < vocab:
            _keep(row, float(rows.top_k[r]), False, bins[thread])
        if rows.top_p[r] < 1:
            _keep(row, rows.top_p[r] * _total(row), True, bins[thread])
        tokens[r] = _draw(row, uniform(rows.seed[r], rows.position[r]))


@kernel
def _penalize(row, penalties, first, last, rows, r):
    for i in range(first, last):
        token, count = penalties.tokens[i], penalties.counts[i]
        if row[token] > 0:
            row[token] /= rows.repetition[r]
        else:
            row[token] *= rows.repetition[r]
        row[token] -= rows.presence[r] + rows.frequency[r] * count


@kernel
def _argmax(row):
    """The lowest id with the largest finite logit."""
    best = NO_TOKEN
    for i in range(row.shape[0]):
        if math.isfinite(row[i]) and (best == NO_TOKEN or row[i] > row[best]):
            best = i
    return best


@kernel
def _to_weights(row, largest, temperature):
    """Unnormalised probabilities, 1 for the largest; what is not finite gets 0."""
    inverse = 1.0 / temperature
    for i in range(row.shape[0]):
        if math.isfinite(row[i]):
            row[i] = np.float32(math.exp((float(row[i]) - float(largest)) * inverse))
        else:
            row[i] = np.float32(0)


@kernel
def _total(row):
    total = 0.0
    for i in range(row.shape[0]):
        total += row[i]
    return total


@kernel
def _keep(row, want, by_mass, bins):
    """Zero all but the largest weights whose number (or, by mass, whose sum) reaches `want`.

    Of weights that are equal at the border the lowest ids stay.
    """
    threshold, above = _threshold(row, want, by_mass, bins)
    ties = math.ceil((want - above) / threshold) if by_mass else want - above
    for i in range(row.shape[0]):
        if row[i] > threshold:
            continue
        if row[i] == threshold and ties > 0:
            ties -= 1
            continue
        row[i] = np.float32(0)


@kernel
def _threshold(row, want, by_mass, bins):
    """The weight at which the descending sum reaches `want`, and the sum of all above it."""
    keys = row.view(np.uint32)
    prefix, above = 0, 0.0
    for level in range(_LEVELS):
        shift = _KEY_BITS - _BIN_BITS * (level + 1)
        bins[:] = 0.0
        for i in range(row.shape[0]):
            key = np.int64(keys[i])
            if key != 0 and key >> (shift + _BIN_BITS) == prefix:
                bins[(key >> shift) & (BINS - 1)] += row[i] if by_mass else 1.0
        chosen = -1
        for b in range(BINS - 1, -1, -1):
            if bins[b] == 0.0:
                continue
            # The last filled bin is taken even if rounding leaves its sum just short of `want`.
            if chosen >= 0:
                above += bins[chosen]
            chosen = b
            if above + bins[b] >= want:
                break
        prefix = (prefix << _BIN_BITS) | max(chosen, 0)
    bins.view(np.int64)[0] = prefix
    return bins.view(np.float32)[0], above


@kernel
def _draw(row, u):
    """The first id at which the running sum of weights exceeds u of the whole."""
    target = u * _total(row)
    running, last = 0.0, NO_TOKEN
    for i in range(row.shape[0]):
        if row[i] > 0:
            running += row[i]
            last = i
            if running > target:
                break
    return last
