"""Token shift: each channel is mixed with the same channel of the token before."""

from server.kernels.jit import kernel


@kernel
def token_shift(x, previous, mix, out):
    """out = x + (previous − x) · mix, all [C] float32."""
    for i in range(mix.shape[0]):
        out[i] = x[i] + (previous[i] - x[i]) * mix[i]
