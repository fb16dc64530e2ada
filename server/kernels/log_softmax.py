"""Log-probabilities of tokens, and the most likely tokens of each row of logits.

The softmax's sum runs in float64, in a fixed order over the ids: a row gives the same bits in any
batch and on any thread.
"""

import math

import numpy as np

from server.kernels.activation import exp
from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import LANES, largest_finite
from server.kernels.team import share

FLOOR = -9999.0
"""No log-probability is below it; also that of a logit that is not finite."""

NO_TOKEN_ID = -1
"""Fills top_ids where a row has fewer finite logits than are wanted."""


@kernel
def log_softmax_rows(team, thread, threads, logits, vocab, tokens, chosen, top_ids, top):
    """The log-probability of one token in each row, and the most likely ones; by rows.

    logits [≥ R, ≥ vocab] float32, tokens [R] int64 → chosen [R] float64; top_ids [R, K] int64 and
    top [R, K] float64, the most likely first, of equals the lowest id.
    """
    begin, end = share(thread, threads, tokens.shape[0])
    lanes = np.empty(LANES, dtype=np.float64)
    for r in range(begin, end):
        row = logits[r, :vocab]
        largest = largest_finite(row.ctypes.data, vocab)
        log_sum = math.log(_sum_of_exponentials(row, largest, lanes))
        chosen[r] = _log_probability(row[tokens[r]], largest, log_sum)
        _find_top(row, top_ids[r], top[r])
        for i in range(top.shape[1]):
            top[r, i] = _log_probability(np.float32(top[r, i]), largest, log_sum)


@inner_kernel
def _log_probability(logit, largest, log_sum):
    if not math.isfinite(logit):
        return FLOOR
    return max(np.float64(logit) - np.float64(largest) - log_sum, FLOOR)


@inner_kernel
def _sum_of_exponentials(row, largest, lanes):
    """Σ exp(x − largest) over what is finite, in 16 lanes and then over these."""
    infinity = np.float32(math.inf)
    lanes[:] = 0.0
    whole = row.shape[0] // LANES * LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            value = row[first + lane]
            weight = exp(value - largest)
            lanes[lane] += np.float64(weight if abs(value) < infinity else np.float32(0))
    for i in range(whole, row.shape[0]):
        value = row[i]
        weight = exp(value - largest)
        lanes[i - whole] += np.float64(weight if abs(value) < infinity else np.float32(0))
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@inner_kernel
def _find_top(row, ids, values):
    """The ids and values of the largest finite logits: a list kept in order, few get into it."""
    ids[:] = NO_TOKEN_ID
    values[:] = -math.inf
    wanted = values.shape[0]
    if wanted == 0:
        return
    least = np.float32(-math.inf)
    for i in range(row.shape[0]):
        value = row[i]
        if value > least and value < np.float32(math.inf):
            place = wanted - 1
            while place > 0 and values[place - 1] < value:
                values[place] = values[place - 1]
                ids[place] = ids[place - 1]
                place -= 1
            values[place] = value
            ids[place] = i
            least = np.float32(values[wanted - 1])
