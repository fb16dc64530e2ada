"""Choosing the next token of each row: mask, edits of its logits, temperature, filters, draw.

Thresholds are found by radix selection over the bits of the probabilities, so nothing is sorted.
Sums run in a fixed order over the ids: the same row gives the same token in any batch.
"""

import math

import numpy as np
from numba import uint64

from server.kernels.activation import exp
from server.kernels.jit import inner_kernel, kernel
from server.kernels.sampling_filters import (
    BY_MASS,
    BY_NUMBER,
    PART,
    drop_below,
    drop_top_choices,
    keep_largest,
    keep_typical,
    sum_parts,
)
from server.kernels.simd import largest_finite
from server.kernels.team import share

NO_TOKEN = -1
"""What is sampled from a row without a single finite logit."""

ROW_PARAMS = np.dtype(
    [
        ("seed", np.uint64),
        ("position", np.int64),
        ("temperature", np.float64),
        ("repetition", np.float64),
        ("presence", np.float64),
        ("frequency", np.float64),
        ("top_k", np.int64),
        ("typical_p", np.float64),
        ("top_p", np.float64),
        ("min_p", np.float64),
        ("xtc_probability", np.float64),
        ("xtc_threshold", np.float64),
        ("mu", np.float64),  # of mirostat; infinite where it is off
    ],
    align=True,
)
"""How a row is sampled."""

EDIT_KINDS = np.int64(4)
"""Allowed tokens (ascending; none: all), biases, counts, and more biases, after the penalties."""

_XTC_STREAM = uint64(0x9FB21C651E98DF25)
"""Makes another stream of numbers of a seed."""


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
def sample_rows(team, thread, threads, logits, vocab, rows, edits, masks, work, tokens, surprises):
    """Sample one token for each row; every thread does some rows.

    logits [R, ≥ vocab] float32 are overwritten. rows [R] ROW_PARAMS; edits: TokenEdits; masks:
    TokenMasks; work: a SamplingWork with a row for each thread. Results: tokens [R] int64, and of
    rows with a finite mu surprises [R] float64: how many bits the token was worth, among those
    that were left.
    """
    begin, end = share(thread, threads, tokens.shape[0])
    parts = work.parts[thread]
    for r in range(begin, end):
        row, how = logits[r, :vocab], rows[r]
        if masks.places[r] >= 0:
            _mask(row, masks.bits[masks.places[r]])
        _edit(row, how, edits, EDIT_KINDS * r)
        largest = largest_finite(row.ctypes.data, vocab)
        if how.temperature == 0 or not math.isfinite(largest):
            tokens[r] = _first_equal(row, largest)
            continue
        # Bounded, because zero times infinity is not a number.
        _to_weights(row, largest, np.float32(min(1 / how.temperature, 1e30)))
        _filter(row, how, work, thread)
        total = sum_parts(row, parts)
        tokens[r] = _draw(row, parts, total * uniform(how.seed, how.position))
        if how.mu < math.inf:
            surprises[r] = math.log2(total / row[tokens[r]])


@inner_kernel
def _mask(row, bits):
    """Ids without their bit cannot be sampled."""
    for i in range(row.shape[0]):
        if not (bits[i >> 5] >> np.uint32(i & 31)) & np.uint32(1):
            row[i] = np.float32(-math.inf)


@inner_kernel
def _edit(row, how, edits, kind):
    """What is done to logits; `kind` is the place of the row's first kind in edits.starts."""
    starts = edits.starts
    if starts[kind] < starts[kind + 1]:
        _allow(row, edits, starts[kind], starts[kind + 1])
    _add(row, edits, starts[kind + 1], starts[kind + 2])
    _penalize(row, how, edits, starts[kind + 2], starts[kind + 3])
    _add(row, edits, starts[kind + 3], starts[kind + 4])


@inner_kernel
def _allow(row, edits, first, last):
    """Ban all tokens but some, which ascend."""
    begin = 0
    for i in range(first, last + 1):
        end = edits.tokens[i] if i < last else row.shape[0]
        for token in range(begin, end):
            row[token] = -np.float32(math.inf)
        begin = end + 1


@inner_kernel
def _add(row, edits, first, last):
    for i in range(first, last):
        row[edits.tokens[i]] += edits.values[i]


@inner_kernel
def _penalize(row, how, edits, first, last):
    for i in range(first, last):
        token, count = edits.tokens[i], edits.values[i]
        if row[token] > 0:
            row[token] /= how.repetition
        else:
            row[token] *= how.repetition
        row[token] -= how.presence + how.frequency * count


@inner_kernel
def _filter(row, how, work, thread):
    """Zero the weights of what shall not be drawn; some token is always left."""
    vocab = row.shape[0]
    bins, parts, candidates = work.bins[thread], work.parts[thread], work.candidates[thread]
    if 0 < how.top_k < vocab:
        keep_largest(row, float(how.top_k), BY_NUMBER, bins, candidates)
    if how.typical_p < 1:
        keep_typical(row, how.typical_p, work.keys[thread], parts, bins, candidates)
    if how.top_p < 1:
        keep_largest(row, how.top_p * sum_parts(row, parts), BY_MASS, bins, candidates)
    if how.min_p > 0:
        drop_below(row, how.min_p * largest_finite(row.ctypes.data, vocab))
    if how.xtc_probability > uniform(how.seed ^ _XTC_STREAM, how.position):
        drop_top_choices(row, how.xtc_threshold * sum_parts(row, parts))
    if how.mu < math.inf:
        likely_enough = 2.0**-how.mu * sum_parts(row, parts)
        drop_below(row, min(likely_enough, largest_finite(row.ctypes.data, vocab)))


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
def _draw(row, parts, target):
    """The first id at which the running sum of weights exceeds `target`; parts: see sum_parts()."""
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
