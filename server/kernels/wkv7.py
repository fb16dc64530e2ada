"""The WKV recurrence of RWKV-7 (arXiv 2503.14456, section 4) for one head of one sequence."""

import math

import numpy as np

from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import LANES, sum_of_squares
from server.kernels.simd_wkv import make_wkv7_lanes

_advance_64 = make_wkv7_lanes(4)
_advance_16 = make_wkv7_lanes(1)


@kernel
def normalize(x, out):
    """out = x / max(‖x‖₂, 1e-12), both [N] float32; out may be x."""
    total = sum_of_squares(x.ctypes.data, x.shape[0], np.float32(0))
    scale = np.float32(1) / max(np.float32(math.sqrt(total)), np.float32(1e-12))
    for i in range(x.shape[0]):
        out[i] = x[i] * scale


@kernel
def wkv7(state, r, decay, k, v, kk, rate, out):
    """Advance the state by one token and read it.

    S ← S·diag(decay) − (S·kk)(kk ∘ rate)ᵀ + v kᵀ, out = S·r. All vectors are [N] float32. The state
    [N, N] float32 is kept transposed, keys by values: a lane is then one value channel, and no sum
    crosses lanes. `out` may not alias an input.
    """
    n = out.shape[0]
    lane = 0
    while lane + 64 <= n:
        _advance_64(n, *_addresses(state, r, decay, k, v, kk, rate, out, lane))
        lane += 64
    while lane + LANES <= n:
        _advance_16(n, *_addresses(state, r, decay, k, v, kk, rate, out, lane))
        lane += LANES
    for i in range(lane, n):
        _advance_1(state, r, decay, k, v, kk, rate, out, i)


@inner_kernel
def _addresses(state, r, decay, k, v, kk, rate, out, lane):
    """What the lanes from `lane` on read and write, in the intrinsic's order."""
    over_keys = (r.ctypes.data, decay.ctypes.data, k.ctypes.data, kk.ctypes.data, rate.ctypes.data)
    at = lane * 4
    return state.ctypes.data + at, *over_keys, v.ctypes.data + at, out.ctypes.data + at


@inner_kernel
def _advance_1(state, r, decay, k, v, kk, rate, out, i):
    removed = np.float32(0)
    for j in range(out.shape[0]):
        removed += state[j, i] * kk[j]
    total = np.float32(0)
    for j in range(out.shape[0]):
        held = state[j, i] * decay[j] + v[i] * k[j] - removed * (kk[j] * rate[j])
        state[j, i] = held
        total += held * r[j]
    out[i] = total
