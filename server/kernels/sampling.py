"""Choosing the next token of each row: mask, penalties, temperature, top-k, top-p, draw.

Thresholds are found by radix selection over the bits of the probabilities, so nothing is sorted.
Sums run in a fixed order over the ids: the same row gives the same token in any batch.
"""

import math

import numpy as np
from numba import uint64

from server.kernels.activation import exp
from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import largest_finite, sum_of_differences
from server.kernels.team import share

NO_TOKEN = -1
"""What is sampled from a row without a single finite logit."""

BINS = 2048
PART = 256
"""Ids whose weights are summed together."""

# Weights are float32 in [0, 1]: their bits order as integers of 30 bits, taken in 11, 11 and 8.
_SHIFTS = (19, 8, 0)
_LOW_MASKS = (BINS - 1, BINS - 1, 255)


@kernel
def uniform(seed, position):
    """A number in [0, 1) that depends on nothing but (seed, position): splitmix64, twice."""
    golden = uint64(0x9E3779B97F4A7C15)
    mixed = _mix(uint64(seed) + golden)
    mixed = _mix(mixed + golden * (uint64(position) + uint64(1)))
    return float(mixed >> uint64(11)) * (1.0 / 9007199254740992.0)


@inner_kernel
def _mix(z):
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@kernel
def sample_rows(team, thread, threads, logits, vocab, rows, penalties, masks, work, tokens):
    """Sample one token for each row; every thread does some rows.

    logits [R, ≥ vocab] float32 are overwritten. rows: RowParams of length R; penalties:
    PenaltyLists; masks: TokenMasks; work: a SamplingWork with a row for each thread. tokens [R]
    int64 is the result.
    """
    begin, end = share(thread, threads, tokens.shape[0])
    bins, parts, chosen = work.bins[thread], work.parts[thread], work.candidates[thread]
    for r in range(begin, end):
        row = logits[r, :vocab]
        if masks.places[r] >= 0:
            _mask(row, masks.bits[masks.places[r]])
        first, last = penalties.starts[r], penalties.starts[r + 1]
        _penalize(row, penalties, first, last, rows, r)
        largest = largest_finite(row.ctypes.data, vocab)
        if rows.temperature[r] == 0 or not math.isfinite(largest):
            tokens[r] = _first_equal(row, largest)
            continue
        # Bounded, because zero times infinity is not a number.
        _to_weights(row, largest, np.float32(min(1 / rows.temperature[r], 1e30)))
        if 0 < rows.top_k[r] < vocab:
            _keep(row, float(rows.top_k[r]), False, bins, chosen)
        if rows.top_p[r] < 1:
            _keep(row, rows.top_p[r] * _sum_parts(row, parts), True, bins, chosen)
        tokens[r] = _draw(row, parts, uniform(rows.seed[r], rows.position[r]))


@inner_kernel
def _mask(row, bits):
    """Ids without their bit cannot be sampled."""
    for i in range(row.shape[0]):
        if not (bits[i >> 5] >> np.uint32(i & 31)) & np.uint32(1):
            row[i] = np.float32(-math.inf)


@inner_kernel
def _penalize(row, penalties, first, last, rows, r):
    for i in range(first, last):
        token, count = penalties.tokens[i], penalties.counts[i]
        if row[token] > 0:
            row[token] /= rows.repetition[r]
        else:
            row[token] *= rows.repetition[r]
        row[token] -= rows.presence[r] + rows.frequency[r] * count


@inner_kernel
def _first_equal(row, value):
    for i in range(row.shape[0]):
        if row[i] == value and math.isfinite(value):
            return i
    return NO_TOKEN


@inner_kernel
def _to_weights(row, largest, inverse_temperature):
    """Unnormalised probabilities, 1 for the largest; what is not finite gets 0."""
    infinity = np.float32(math.inf)
    for i in range(row.shape[0]):
        value = row[i]
        weight = exp((value - largest) * inverse_temperature)
        row[i] = weight if abs(value) < infinity else np.float32(0)


@inner_kernel
def _keep(row, want, by_mass, bins, candidates):
    """Zero all but the largest weights whose number (or, by mass, whose sum) reaches `want`.

    Of weights that are equal at the border the lowest ids stay.
    """
    count, prefix, above = _first_level(row, want, by_mass, bins, candidates)
    keys = row.view(np.uint32)
    for level in range(1, 3):
        shift, mask = _SHIFTS[level], _LOW_MASKS[level]
        bins[:] = 0.0
        for c in range(count):
            key = np.int64(keys[candidates[c]])
            if key >> _SHIFTS[level - 1] == prefix:
                bins[(key >> shift) & mask] += row[candidates[c]] if by_mass else 1.0
        chosen, above = _descend(bins, want, above)
        prefix = (prefix << (_SHIFTS[level - 1] - shift)) | chosen
    bins.view(np.int64)[0] = prefix
    threshold = bins.view(np.float32)[0]
    for i in range(row.shape[0]):
        row[i] = row[i] if row[i] >= threshold else np.float32(0)
    ties = math.ceil((want - above) / threshold) if by_mass else want - above
    for c in range(count):
        if row[candidates[c]] == threshold:
            if ties <= 0:
                row[candidates[c]] = np.float32(0)
            ties -= 1


@inner_kernel
def _first_level(row, want, by_mass, bins, candidates):
    """The bin of leading bits in which the border lies: its ids, itself, and the sum above it."""
    keys = row.view(np.uint32)
    bins[:] = 0.0
    for i in range(row.shape[0]):
        bins[keys[i] >> np.uint32(_SHIFTS[0])] += row[i] if by_mass else 1.0
    chosen, above = _descend(bins, want, 0.0)
    count = 0
    for i in range(row.shape[0]):
        if keys[i] >> np.uint32(_SHIFTS[0]) == chosen:
            candidates[count] = i
            count += 1
    return count, chosen, above


@inner_kernel
def _descend(bins, want, above):
    """The bin at which the descending sum reaches `want`, and the sum above it."""
    chosen, passed = -1, 0.0
    for b in range(BINS - 1, -1, -1):
        if bins[b] > 0.0:
            # The last filled bin is taken even if rounding leaves its sum just short of `want`.
            above += passed
            chosen, passed = b, bins[b]
            if above + passed >= want:
                break
    return max(chosen, 0), above


@inner_kernel
def _sum_parts(row, parts):
    """The sum of all weights; parts[p] becomes that of ids 256 · p to 256 · p + 255."""
    total = 0.0
    for p in range(parts.shape[0]):
        first = p * PART
        size = min(PART, row.shape[0] - first)
        parts[p] = sum_of_differences(row[first:].ctypes.data, size, np.float32(0))
        total += parts[p]
    return total


@inner_kernel
def _draw(row, parts, u):
    """The first id at which the running sum of weights exceeds u of the whole."""
    target = u * _sum_parts(row, parts)
    running, last_part = 0.0, 0
    for p in range(parts.shape[0]):
        if parts[p] > 0:
            last_part = p
            if running + parts[p] > target:
                break
            running += parts[p]
    chosen = NO_TOKEN
    for i in range(last_part * PART, min((last_part + 1) * PART, row.shape[0])):
        if row[i] > 0:
            chosen = i
            running += row[i]
            if running > target:
                break
    return chosen
