"""Filters of the sampler: they zero the weights of tokens that shall not be drawn.

A row is [V] float32, weights in [0, 1] that need not sum to 1. Of weights that are equal at a
border the lowest ids stay.
"""

import math

import numpy as np

from server.kernels.jit import inner_kernel
from server.kernels.simd import sum_of_differences

BINS = 2048
PART = 256
"""Ids whose weights are summed together."""

# Keys order as integers of 30 bits, such as those of float32 in [0, 1]; taken in 11, 11 and 8.
_SHIFTS = (19, 8, 0)
_LOW_MASKS = (BINS - 1, BINS - 1, 255)

# Typed, or everything would be compiled for each of them.
BY_NUMBER, BY_MASS = np.int64(0), np.int64(1)
"""What keep_largest() counts."""

_KEY_OF_ONE = np.uint32(0x3F800000)
_SMALLEST = 1e-38
"""No weight but zero is smaller."""


@inner_kernel
def sum_parts(row, parts):
    """The sum of all weights; parts[p] becomes that of ids 256 · p to 256 · p + 255."""
    total = 0.0
    for p in range(parts.shape[0]):
        first = p * PART
        size = min(PART, row.shape[0] - first)
        parts[p] = sum_of_differences(row[first:].ctypes.data, size, np.float32(0))
        total += parts[p]
    return total


@inner_kernel
def drop_below(row, bound):
    """Keep the weights of at least `bound`."""
    least = np.float32(bound)
    for i in range(row.shape[0]):
        row[i] = row[i] if row[i] >= least else np.float32(0)


@inner_kernel
def drop_top_choices(row, bound):
    """Zero all weights of at least `bound` but the least of them (of equals the highest id's)."""
    least, kept = np.float32(math.inf), -1
    bound = np.float32(max(bound, _SMALLEST))
    for i in range(row.shape[0]):
        if bound <= row[i] <= least:
            least, kept = row[i], i
    for i in range(row.shape[0]):
        if row[i] >= bound and i != kept:
            row[i] = np.float32(0)


@inner_kernel
def keep_largest(row, want, by, bins, candidates):
    """Keep the fewest weights, from the largest on, whose number or sum reaches `want`."""
    bins.view(np.int64)[0] = _find_border(row, row.view(np.uint32), want, by, bins, candidates)
    threshold = bins.view(np.float32)[0]
    for i in range(row.shape[0]):
        row[i] = row[i] if row[i] >= threshold else np.float32(0)


@inner_kernel
def keep_typical(row, share, keys, parts, bins, candidates):
    """Keep those whose surprise is nearest to the mean of all, until they have `share` of the sum.

    keys [V] uint32 is overwritten.
    """
    mean, total = 0.0, sum_parts(row, parts)
    for i in range(row.shape[0]):
        if row[i] > 0:
            mean += row[i] * math.log(row[i]) / total
    distances = keys.view(np.float32)
    for i in range(row.shape[0]):
        if row[i] > 0:
            # Logarithms of weights are above −88. The nearest has the largest key.
            distances[i] = abs(math.log(row[i]) - mean) / 128
            keys[i] = _KEY_OF_ONE - keys[i]
        else:
            keys[i] = 0
    border = _find_border(row, keys, share * total, BY_MASS, bins, candidates)
    for i in range(row.shape[0]):
        row[i] = row[i] if keys[i] >= border else np.float32(0)


@inner_kernel
def _find_border(row, keys, want, by, bins, candidates):
    """The key down to which the number or sum of weights reaches `want`.

    Of the weights with just this key, those that are not needed for that become zero.
    """
    count, prefix, above = _first_level(row, keys, want, by, bins, candidates)
    for level in range(1, 3):
        shift, mask = _SHIFTS[level], _LOW_MASKS[level]
        bins[:] = 0.0
        for c in range(count):
            key = np.int64(keys[candidates[c]])
            if key >> _SHIFTS[level - 1] == prefix:
                bins[(key >> shift) & mask] += row[candidates[c]] if by == BY_MASS else 1.0
        chosen, above = _descend(bins, want, above)
        prefix = (prefix << (_SHIFTS[level - 1] - shift)) | chosen
    _drop_ties(row, keys, prefix, want - above, by, candidates, count)
    return prefix


@inner_kernel
def _first_level(row, keys, want, by, bins, candidates):
    """The bin of leading bits in which the border lies: its ids, itself, and the sum above it."""
    bins[:] = 0.0
    for i in range(row.shape[0]):
        bins[keys[i] >> np.uint32(_SHIFTS[0])] += row[i] if by == BY_MASS else 1.0
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
def _drop_ties(row, keys, border, missing, by, candidates, count):
    """Of the weights with the key at the border, keep the first until nothing is missing."""
    for c in range(count):
        i = candidates[c]
        if keys[i] == border:
            weight = row[i]
            if missing <= 0:
                row[i] = np.float32(0)
            missing -= weight if by == BY_MASS else 1.0
