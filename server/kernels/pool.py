"""Sums of what the model has made of tokens, for embeddings."""

from server.kernels.jit import kernel
from server.kernels.norm import layer_norm
from server.kernels.team import share


@kernel
def add_normed_rows(team, thread, threads, x, weight, bias, epsilon, spans, normed, sums):
    """sums[s] += norm(x[t]) for spans[s, 0] ≤ t < spans[s, 1], one token after the other.

    x [≥ T, C], weight and bias [C] float32; spans [S, 2] int64; sums [S, C] float64; normed
    [threads, C] float32 is scratch. A sum is one chain over its tokens, so it may be cut anywhere.
    """
    begin, end = share(thread, threads, spans.shape[0])
    out = normed[thread]
    for span in range(begin, end):
        total = sums[span]
        for t in range(spans[span, 0], spans[span, 1]):
            layer_norm(x[t], weight, bias, epsilon, out)
            for i in range(total.shape[0]):
                total[i] += out[i]
