"""The WKV recurrence of RWKV-4 (arXiv 2305.13048, appendix D) for some channels."""

import numpy as np

from server.kernels.activation import exp
from server.kernels.jit import kernel


@kernel
def wkv4(state, decay, bonus, k, v, out):
    """Advance the state by one token and read it.

    state [3, ≥ n] float32 holds a numerator and a denominator, both divided by e to the power of
    the exponent in its third row, which is the largest so far, so that none overflows. All vectors
    are [n] float32; decay is negative; `out` may not alias an input.
    """
    numerator, denominator, exponent = state[0], state[1], state[2]
    for i in range(out.shape[0]):
        current = bonus[i] + k[i]
        largest = max(exponent[i], current)
        past, now = exp(exponent[i] - largest), exp(current - largest)
        total = past * denominator[i] + now
        out[i] = (past * numerator[i] + now * v[i]) / total
    for i in range(out.shape[0]):
        faded = exponent[i] + decay[i]
        largest = max(faded, k[i])
        past, now = exp(faded - largest), exp(k[i] - largest)
        numerator[i] = past * numerator[i] + now * v[i]
        denominator[i] = past * denominator[i] + now
        exponent[i] = np.float32(largest)
