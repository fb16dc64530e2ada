"""The WKV recurrence of RWKV-5 and RWKV-6 (arXiv 2404.05892) for one head of one sequence."""

import numpy as np

from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import LANES
from server.kernels.simd_wkv import make_wkv6_lanes

_advance_64 = make_wkv6_lanes(4)
_advance_16 = make_wkv6_lanes(1)


@kernel
def wkv6(state, r, decay, k, v, current, out):
    """Read the state and advance it by one token.

    out = S·r + current · v, S ← S·diag(decay) + v kᵀ, where current is Σ r · bonus · k. All vectors
    are [N] float32. The state [N, N] float32 is kept transposed, keys by values: a lane is then one
    value channel, and no sum crosses lanes. `out` may not alias an input.
    """
    n = out.shape[0]
    over_keys = r.ctypes.data, decay.ctypes.data, k.ctypes.data
    lane = 0
    while lane + 64 <= n:
        at = lane * 4
        _advance_64(n, state.ctypes.data + at, *over_keys, v.ctypes.data + at, out.ctypes.data + at)
        lane += 64
    while lane + LANES <= n:
        at = lane * 4
        _advance_16(n, state.ctypes.data + at, *over_keys, v.ctypes.data + at, out.ctypes.data + at)
        lane += LANES
    for i in range(lane, n):
        _advance_1(state, r, decay, k, v, out, i)
    for i in range(n):
        out[i] += current * v[i]


@inner_kernel
def _advance_1(state, r, decay, k, v, out, i):
    total = np.float32(0)
    for j in range(out.shape[0]):
        held = state[j, i]
        total += held * r[j]
        state[j, i] = held * decay[j] + v[i] * k[j]
    out[i] = total
