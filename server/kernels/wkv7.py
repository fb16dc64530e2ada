"""The WKV recurrence of RWKV-7 (arXiv 2503.14456, section 4) for one head of one sequence."""

import math

import numpy as np

from server.kernels.jit import kernel


@kernel
def normalize(x, out):
    """out = x / max(‖x‖₂, 1e-12), both [N] float32; out may be x."""
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    scale = np.float32(1) / max(np.float32(math.sqrt(total)), np.float32(1e-12))
    for i in range(x.shape[0]):
        out[i] = x[i] * scale


@kernel
def wkv7(state, r, decay, k, v, kk, a, out):
    """Advance the state by one token and read it.

    S ← S·diag(decay) − (S·kk)(kk ∘ a)ᵀ + v kᵀ, out = S·r. All vectors are [N] float32. The state
    [N, N] float32 is kept transposed, keys by values: a lane is then one value channel, and no sum
    crosses lanes. `out` may not alias an input.
    """
    n = out.shape[0]
    for i in range(n):
        out[i] = np.float32(0)
    for j in range(n):
        key = kk[j]
        row = state[j]
        for i in range(n):
            out[i] += row[i] * key
    # From here until its second zeroing, `out` holds S·kk.
    for j in range(n):
        kept, added, removed = decay[j], k[j], kk[j] * a[j]
        row = state[j]
        for i in range(n):
            row[i] = row[i] * kept + v[i] * added - out[i] * removed
    for i in range(n):
        out[i] = np.float32(0)
    for j in range(n):
        read = r[j]
        row = state[j]
        for i in range(n):
            out[i] += row[i] * read
