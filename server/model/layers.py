"""What the forward passes of all generations share. All functions run on every thread of a team."""

import numpy as np

from server.kernels.activation import sigmoid
from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import inputs_of, layer_of, multiply, quantize, share_rows
from server.kernels.norm import layer_norm
from server.kernels.simd import GROUP, LANES, sum_of_differences, widen
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.kernels.wkv6 import wkv6

LAYER_NORM_EPSILON = 1e-5
GROUP_NORM_EPSILON = 64e-5
"""Of RWKV-6, whatever the head size; that of RWKV-7 grows with it."""
# Typed, because Numba compiles a function once more for every literal argument.
TIME, CHANNEL, FIRST = np.int64(0), np.int64(1), np.int64(0)
RECEPTANCE, KEY, VALUE = np.arange(3)
"""Slots of Scratch.inputs, where shift_inputs() and channel mixing put what they make."""


@inner_kernel
def embed(thread, threads, weights, batch, scratch):
    """x = norm of the embedding, for this thread's tokens."""
    begin, end = share(thread, threads, batch.tokens.shape[0])
    for t in range(begin, end):
        row, x = weights.embedding[batch.tokens[t]], scratch.x[t]
        for i in range(row.shape[0]):
            x[i] = widen(row[i])
        layer_norm(x, weights.norm_weight[0], weights.norm_bias[0], LAYER_NORM_EPSILON, x)


@kernel
def head_step(team, thread, threads, weights, logit_rows, scratch):
    """Write scratch.logits for some of the tokens that the last step has read, [R] int64."""
    weights, scratch = borrowed(weights), borrowed(scratch)
    write_logits(team, thread, threads, weights, logit_rows, scratch)


@inner_kernel
def write_logits(team, thread, threads, weights, logit_rows, scratch):
    """The logits of these tokens."""
    channels = scratch.x.shape[1]
    rows = logit_rows.shape[0]
    begin, end = share(thread, threads, rows)
    for row in range(begin, end):
        x, out = scratch.x[logit_rows[row]], scratch.last.values[0, row, :channels]
        layer_norm(x, weights.norm_weight[1], weights.norm_bias[1], LAYER_NORM_EPSILON, out)
        quantize(weights.head, scratch.last, FIRST, row, 0, channels)
    barrier(team, threads)
    project(thread, threads, weights.head, FIRST, scratch.last, FIRST, scratch.logits, rows)


@inner_kernel
def _norm(weights, layer, which, x, out):
    weight, bias = weights.block_norm_weight[layer, which], weights.block_norm_bias[layer, which]
    layer_norm(x, weight, bias, LAYER_NORM_EPSILON, out)


@inner_kernel
def norm_next(thread, begin, t, weights, layer, which, state, batch, scratch):
    """Norm token t of a thread whose tokens begin at `begin`; returns the normed token before.

    That one may be another thread's, which need not have come to it: it is computed here, too.
    """
    _norm(weights, layer, which, scratch.x[t], scratch.normed[t])
    sequence = batch.sequences[t]
    if t == batch.starts[sequence]:
        return state.shift[batch.slots[sequence], layer, which]
    if t > begin:
        return scratch.normed[t - 1]
    _norm(weights, layer, which, scratch.x[t - 1], scratch.borders[thread])
    return scratch.borders[thread]


@inner_kernel
def remember_last(thread, threads, layer, which, state, batch, scratch):
    """Keep each sequence's last normed token, when nobody reads the old one any more."""
    begin, end = share(thread, threads, batch.slots.shape[0])
    for s in range(begin, end):
        shift = state.shift[batch.slots[s], layer, which]
        normed = scratch.normed[batch.starts[s + 1] - 1]
        for i in range(shift.shape[0]):
            shift[i] = normed[i]


@inner_kernel
def shift_inputs(thread, threads, weights, layer, state, batch, scratch):
    """Norm and token shift of this thread's tokens, as many as there are in Weights.mix.

    The first three are quantised for r, k and v.
    """
    inputs, channels = scratch.inputs, scratch.x.shape[1]
    begin, end = share(thread, threads, batch.tokens.shape[0])
    for t in range(begin, end):
        previous = norm_next(thread, begin, t, weights, layer, TIME, state, batch, scratch)
        for m in range(weights.mix.shape[1]):
            token_shift(scratch.normed[t], previous, weights.mix[layer, m], inputs.values[m, t])
        quantize(weights.receptance, inputs, RECEPTANCE, t, 0, channels)
        quantize(weights.key, inputs, KEY, t, 0, channels)
        quantize(weights.value, inputs, VALUE, t, 0, channels)


@inner_kernel
def project_inputs(thread, threads, weights, layer, state, batch, scratch, r, k, v):
    """This thread's share of r, k and v from these slots, when all inputs are there.

    Nobody reads the old shift state any more, so that is renewed, too.
    """
    inputs, tokens = scratch.inputs, batch.tokens.shape[0]
    remember_last(thread, threads, layer, TIME, state, batch, scratch)
    project(thread, threads, weights.receptance, layer, inputs, r, scratch.r, tokens)
    project(thread, threads, weights.key, layer, inputs, k, scratch.k, tokens)
    project(thread, threads, weights.value, layer, inputs, v, scratch.v, tokens)


@inner_kernel
def project(thread, threads, w, layer, inputs, slot, y, tokens):
    """This thread's share of y = W x; returns which outputs it computed."""
    begin, end = share_rows(thread, threads, w.codes.shape[1])
    multiply(layer_of(w, layer), inputs_of(w, inputs, slot), y, tokens, begin, end)
    return begin * LANES, end * LANES


@inner_kernel
def project_low_rank(thread, threads, w, layer, x, y, tokens):
    """The same for a low-rank matrix, whose inputs are an array."""
    begin, end = share_rows(thread, threads, w.codes.shape[1])
    multiply(layer_of(w, layer), x, y, tokens, begin, end)
    return begin * LANES, end * LANES


@inner_kernel
def share_heads(thread, threads, heads, size):
    """A thread's first and last + 1 head, and whether heads are whole groups of channels.

    If so, all that belongs to a head's channels stays on its thread, without a barrier.
    """
    first, last = share(thread, threads, heads)
    return first, last, size % GROUP == 0


@inner_kernel
def quantize_heads(team, thread, threads, weights, slot, first, last, is_whole, scratch, tokens):
    """Prepare the channels first … last − 1, which this thread has written, for the output."""
    begin, end = 0, tokens
    if not is_whole:
        barrier(team, threads)
        first, last = 0, scratch.x.shape[1]
        begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        quantize(weights.output, scratch.inputs, slot, t, first, last)
    barrier(team, threads)


@inner_kernel
def project_residual(thread, threads, w, layer, inputs, slot, scratch, tokens):
    """x += W inputs, for this thread's channels."""
    begin, end = project(thread, threads, w, layer, inputs, slot, scratch.out, tokens)
    last = min(end, scratch.x.shape[1])
    for t in range(tokens):
        x, out = scratch.x[t, begin:last], scratch.out[t, begin:last]
        for i in range(x.shape[0]):
            x[i] += out[i]


@inner_kernel
def bonus_of(r, k, bonus, products):
    """Σ r · k · bonus over a head: the weight of the current token's value. Overwrites products."""
    for i in range(products.shape[0]):
        products[i] = r[i] * k[i] * bonus[i]
    return sum_of_differences(products.ctypes.data, products.shape[0], np.float32(0))


@inner_kernel
def attend(wkv_state, r, decay, k, v, bonus, products, y):
    """WKV of one head and token of RWKV-5 and 6: advance the state, y is what it reads."""
    current = bonus_of(r, k, bonus, products)
    wkv6(wkv_state, r, decay, k, v, current, y)


@inner_kernel
def apply_gate(gate, y):
    """y *= silu(gate)."""
    for i in range(y.shape[0]):
        y[i] *= gate[i] * sigmoid(gate[i])


@inner_kernel
def square_relu(thread, threads, weights, layer, inputs, slot, scratch, tokens):
    """channel_hidden = max(K x, 0)², for this thread's hidden channels."""
    hidden = scratch.channel_hidden
    w, values = weights.channel_key, hidden.values[0]
    begin, end = project(thread, threads, w, layer, inputs, slot, values, tokens)
    for t in range(tokens):
        row = values[t, begin:end]
        for i in range(row.shape[0]):
            positive = max(row[i], np.float32(0))
            row[i] = positive * positive
        quantize(weights.channel_value, hidden, FIRST, t, begin, end)


@inner_kernel
def gated_channel_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    """Channel mixing of RWKV-4 to RWKV-6: sigmoid(R x_r) · V max(K x_k, 0)²."""
    tokens, channels = batch.tokens.shape[0], scratch.x.shape[1]
    inputs, mix = scratch.inputs, weights.channel_mix
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = norm_next(thread, begin, t, weights, layer, CHANNEL, state, batch, scratch)
        normed = scratch.normed[t]
        token_shift(normed, previous, mix[layer, 0], inputs.values[KEY, t])
        token_shift(normed, previous, mix[layer, 1], inputs.values[RECEPTANCE, t])
        quantize(weights.channel_key, inputs, KEY, t, 0, channels)
        quantize(weights.channel_receptance, inputs, RECEPTANCE, t, 0, channels)
    barrier(team, threads)
    remember_last(thread, threads, layer, CHANNEL, state, batch, scratch)
    square_relu(thread, threads, weights, layer, inputs, KEY, scratch, tokens)
    # The same thread computes the same channels of r and of out.
    w = weights.channel_receptance
    project(thread, threads, w, layer, inputs, RECEPTANCE, scratch.r, tokens)
    barrier(team, threads)
    w, hidden = weights.channel_value, scratch.channel_hidden
    begin, end = project(thread, threads, w, layer, hidden, FIRST, scratch.out, tokens)
    last = min(end, channels)
    for t in range(tokens):
        x, out = scratch.x[t, begin:last], scratch.out[t, begin:last]
        r = scratch.r[t, begin:last]
        for i in range(x.shape[0]):
            x[i] += sigmoid(r[i]) * out[i]
