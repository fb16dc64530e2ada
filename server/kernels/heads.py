"""What an embedding model and its reranker make of hidden states (EmbeddingRWKV), in float32.

Every output is computed by one thread in one order, so its bits depend on its own row alone.
"""

import numpy as np

from server.kernels.activation import tanh
from server.kernels.jit import kernel
from server.kernels.linear import layer_of, multiply, share_rows
from server.kernels.norm import layer_norm
from server.kernels.simd import LANES
from server.kernels.team import barrier, share


@kernel
def embed_rows(
    team, thread, threads, first, second, norm_weight, norm_bias, epsilon, heads, x, hidden, out
):
    """out[r] = norm(x[r] + W₂ max(W₁ x[r], 0)), with the matrices and norm of head heads[r].

    first and second are FloatMatrix of all heads; norm_weight and norm_bias [heads, C]; heads [R]
    int64; x, hidden and out [R, 1, ≥ 16 · ⌈C/16⌉] float32.
    """
    dim = norm_weight.shape[1]
    begin, end = share_rows(thread, threads, first.codes.shape[1])
    for r in range(heads.shape[0]):
        multiply(layer_of(first, heads[r]), x[r], hidden[r], 1, begin, end)
        row = hidden[r, 0, begin * LANES : end * LANES]
        for i in range(row.shape[0]):
            row[i] = max(row[i], np.float32(0))
    barrier(team, threads)
    for r in range(heads.shape[0]):
        multiply(layer_of(second, heads[r]), hidden[r], out[r], 1, begin, end)
    barrier(team, threads)
    begin, end = share(thread, threads, heads.shape[0])
    for r in range(begin, end):
        row = out[r, 0, :dim]
        for i in range(dim):
            row[i] += x[r, 0, i]
        layer_norm(row, norm_weight[heads[r]], norm_bias[heads[r]], epsilon, row)


@kernel
def score_rows(team, thread, threads, matrix, bias, weight, x, hidden, scores):
    """scores[r] = w · tanh(W x[r] + b).

    matrix is a FloatMatrix of one layer; bias and weight [C]; x and hidden [R, 1, ≥ 16 · ⌈C/16⌉]
    float32; scores [R] float64, added up in float64.
    """
    dim = bias.shape[0]
    begin, end = share_rows(thread, threads, matrix.codes.shape[1])
    for r in range(scores.shape[0]):
        multiply(layer_of(matrix, 0), x[r], hidden[r], 1, begin, end)
        for i in range(begin * LANES, min(end * LANES, dim)):
            hidden[r, 0, i] = tanh(hidden[r, 0, i] + bias[i])
    barrier(team, threads)
    begin, end = share(thread, threads, scores.shape[0])
    for r in range(begin, end):
        total = 0.0
        for i in range(dim):
            total += np.float64(hidden[r, 0, i]) * np.float64(weight[i])
        scores[r] = total
