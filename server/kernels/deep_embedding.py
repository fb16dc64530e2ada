"""The deep embedding of RWKV-7a: a small matrix for each token and layer, from a large table."""

import numpy as np

from server.kernels.jit import kernel
from server.kernels.linear import multiply
from server.kernels.norm import layer_norm
from server.kernels.simd import widen
from server.kernels.team import share


@kernel
def multiply_normed(team, thread, threads, x, norm_weight, norm_bias, epsilon, w, normed, out):
    """out[t] = W norm(x[t]), by the threads of a team.

    x [T, C] float32; norm_weight and norm_bias [C]; w one FloatMatrix; normed [T, C] is scratch;
    out [≥ T, ≥ 16 · blocks]. An output's bits depend on nothing but its row of x.
    """
    begin, end = share(thread, threads, x.shape[0])
    for t in range(begin, end):
        layer_norm(x[t], norm_weight, norm_bias, epsilon, normed[t])
    multiply(w, normed[begin:end], out[begin:end], end - begin, 0, w.codes.shape[0])


@kernel
def multiply_entry(entry, x, out):
    """out = x E: entry E [R · R] row by row, float32 or 16 bits (simd.widen); x, out [≥ R]."""
    rank = int(np.sqrt(entry.shape[0]))
    for j in range(rank):
        out[j] = np.float32(0)
    for i in range(rank):
        scale, row = x[i], entry[i * rank : (i + 1) * rank]
        for j in range(rank):
            out[j] += scale * widen(row[j])
