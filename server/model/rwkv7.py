"""RWKV-7 "Goose" (arXiv 2503.14456): the forward pass of a packed batch, as one SPMD kernel.

A batch is T tokens of S sequences, one after another. Only token shift and WKV look at the borders
between sequences, so prefill, decode and any mixture of them are the same code.
The arrays are described in rwkv7_arrays.py.
"""

import math

import numpy as np

from server.kernels.activation import exp, sigmoid, tanh
from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import inputs_of, layer_of, multiply, quantize, share_rows
from server.kernels.norm import layer_norm
from server.kernels.quantize import GROUP
from server.kernels.simd import LANES, sum_of_differences, widen
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.kernels.wkv7 import normalize, wkv7

LAYER_NORM_EPSILON = 1e-5
GROUP_NORM_EPSILON = 64e-5
DECAY_SCALE = math.exp(-0.5)
MIXES = ("r", "w", "k", "v", "a", "g")
# Slots of Scratch.inputs: the six mixes and what the output projection takes.
# Typed, because Numba compiles a function once more for every literal argument.
INPUT_SLOTS = 7
_R, _W, _K, _V, _A, _G, _Y = np.arange(INPUT_SLOTS)
_TIME, _CHANNEL, _FIRST = np.int64(0), np.int64(1), np.int64(0)


@kernel
def step(team, thread, threads, weights, state, batch, scratch):
    """Read batch.tokens, advance the states, and write scratch.logits for batch.logit_rows."""
    weights, state = borrowed(weights), borrowed(state)
    batch, scratch = borrowed(batch), borrowed(scratch)
    _embed(thread, threads, weights, batch, scratch)
    barrier(team, threads)
    for layer in range(weights.mix.shape[0]):
        _time_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
        _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
    channels = scratch.x.shape[1]
    begin, end = share(thread, threads, batch.logit_rows.shape[0])
    for row in range(begin, end):
        x, out = scratch.x[batch.logit_rows[row]], scratch.last.values[0, row, :channels]
        layer_norm(x, weights.norm_weight[1], weights.norm_bias[1], LAYER_NORM_EPSILON, out)
        quantize(weights.head, scratch.last, _FIRST, row, 0, channels)
    barrier(team, threads)
    rows = batch.logit_rows.shape[0]
    _project(thread, threads, weights.head, _FIRST, scratch.last, _FIRST, scratch.logits, rows)


@inner_kernel
def _embed(thread, threads, weights, batch, scratch):
    begin, end = share(thread, threads, batch.tokens.shape[0])
    for t in range(begin, end):
        row, x = weights.embedding[batch.tokens[t]], scratch.x[t]
        for i in range(row.shape[0]):
            x[i] = widen(row[i])
        layer_norm(x, weights.norm_weight[0], weights.norm_bias[0], LAYER_NORM_EPSILON, x)


@inner_kernel
def _norm(weights, layer, which, x, out):
    weight, bias = weights.block_norm_weight[layer, which], weights.block_norm_bias[layer, which]
    layer_norm(x, weight, bias, LAYER_NORM_EPSILON, out)


@inner_kernel
def _norm_next(thread, begin, t, weights, layer, which, state, batch, scratch):
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
def _remember_last(thread, threads, layer, which, state, batch, scratch):
    begin, end = share(thread, threads, batch.slots.shape[0])
    for s in range(begin, end):
        shift = state.shift[batch.slots[s], layer, which]
        normed = scratch.normed[batch.starts[s + 1] - 1]
        for i in range(shift.shape[0]):
            shift[i] = normed[i]


@inner_kernel
def _project(thread, threads, w, layer, inputs, slot, y, tokens):
    """This thread's share of y = W x; returns which outputs it computed."""
    begin, end = share_rows(thread, threads, w.codes.shape[1])
    multiply(layer_of(w, layer), inputs_of(w, inputs, slot), y, tokens, begin, end)
    return begin * LANES, end * LANES


@inner_kernel
def _project_low_rank(thread, threads, w, layer, x, y, tokens):
    begin, end = share_rows(thread, threads, w.codes.shape[1])
    multiply(layer_of(w, layer), x, y, tokens, begin, end)
    return begin * LANES, end * LANES


@inner_kernel
def _time_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens = batch.tokens.shape[0]
    inputs = scratch.inputs
    _time_inputs(thread, threads, weights, layer, state, batch, scratch)
    barrier(team, threads)
    # Nobody reads the old shift state any more.
    _remember_last(thread, threads, layer, _TIME, state, batch, scratch)
    _project(thread, threads, weights.receptance, layer, inputs, _R, scratch.r, tokens)
    _project(thread, threads, weights.key, layer, inputs, _K, scratch.k, tokens)
    _project(thread, threads, weights.value, layer, inputs, _V, scratch.v, tokens)
    _low_rank_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    # A head stays on one thread, if its channels are whole groups of 32.
    heads, size = state.wkv.shape[2], state.wkv.shape[3]
    first, last = share(thread, threads, heads)
    is_whole = size % GROUP == 0
    begin, end = first * size // LANES, last * size // LANES
    if not is_whole:
        begin, end = share_rows(thread, threads, weights.decay_up.codes.shape[1])
    _low_rank_up(weights, layer, scratch, tokens, begin, end)
    if not is_whole:
        barrier(team, threads)
    for t in range(tokens):
        _prepare(weights, layer, t, first * size, last * size, scratch)
    for sequence in range(batch.slots.shape[0]):
        for head in range(first, last):
            _head(weights, layer, head, sequence, state, batch, scratch)
    if not is_whole:
        barrier(team, threads)
        first, last = 0, heads
    begin, end = (0, tokens) if is_whole else share(thread, threads, tokens)
    for t in range(begin, end):
        quantize(weights.output, inputs, _Y, t, first * size, last * size)
    barrier(team, threads)
    w, out = weights.output, scratch.out
    begin, end = _project(thread, threads, w, layer, inputs, _Y, out, tokens)
    _add_residual(scratch, tokens, begin, end)


@inner_kernel
def _time_inputs(thread, threads, weights, layer, state, batch, scratch):
    """Norm, token shift and quantisation of a thread's tokens."""
    inputs, channels = scratch.inputs, scratch.x.shape[1]
    begin, end = share(thread, threads, batch.tokens.shape[0])
    for t in range(begin, end):
        previous = _norm_next(thread, begin, t, weights, layer, _TIME, state, batch, scratch)
        for m in range(6):
            token_shift(scratch.normed[t], previous, weights.mix[layer, m], inputs.values[m, t])
        quantize(weights.receptance, inputs, _R, t, 0, channels)
        quantize(weights.key, inputs, _K, t, 0, channels)
        quantize(weights.value, inputs, _V, t, 0, channels)


@inner_kernel
def _low_rank_down(thread, threads, weights, layer, scratch, tokens):
    mixed, decay, gate = scratch.inputs.values, scratch.decay_hidden, scratch.gate_hidden
    w = weights.decay_down
    begin, end = _project_low_rank(thread, threads, w, layer, mixed[_W], decay, tokens)
    for t in range(tokens):
        row = decay[t, begin:end]
        for i in range(row.shape[0]):
            row[i] = tanh(row[i])
    w = weights.gate_down
    begin, end = _project_low_rank(thread, threads, w, layer, mixed[_G], gate, tokens)
    for t in range(tokens):
        row = gate[t, begin:end]
        for i in range(row.shape[0]):
            row[i] = sigmoid(row[i])
    w, rate, first = weights.rate_down, scratch.rate_hidden, scratch.first_hidden
    _project_low_rank(thread, threads, w, layer, mixed[_A], rate, tokens)
    if layer > 0:
        w = weights.first_down
        _project_low_rank(thread, threads, w, layer, mixed[_V], first, tokens)


@inner_kernel
def _low_rank_up(weights, layer, scratch, tokens, begin, end):
    """Row blocks begin … end − 1 of all."""
    w, hidden = layer_of(weights.decay_up, layer), scratch.decay_hidden
    multiply(w, hidden, scratch.decay, tokens, begin, end)
    w, hidden = layer_of(weights.rate_up, layer), scratch.rate_hidden
    multiply(w, hidden, scratch.rate, tokens, begin, end)
    w, hidden = layer_of(weights.gate_up, layer), scratch.gate_hidden
    multiply(w, hidden, scratch.gate, tokens, begin, end)
    if layer > 0:
        w, hidden = layer_of(weights.first_up, layer), scratch.first_hidden
        multiply(w, hidden, scratch.first, tokens, begin, end)


@inner_kernel
def _prepare(weights, layer, t, first, last, scratch):
    """Turn projections of one token's channels into decay, rate, removal key, key and value.

    In short loops over few arrays, which LLVM turns into vector code.
    """
    decay, base = scratch.decay[t, first:last], weights.decay_base[layer, first:last]
    for i in range(base.shape[0]):
        decay[i] = exp(np.float32(-DECAY_SCALE) * sigmoid(base[i] + decay[i]))
    rate, base = scratch.rate[t, first:last], weights.rate_base[layer, first:last]
    for i in range(base.shape[0]):
        rate[i] = sigmoid(base[i] + rate[i])
    k, kk = scratch.k[t, first:last], scratch.kk[t, first:last]
    removal = weights.removal_scale[layer, first:last]
    for i in range(removal.shape[0]):
        kk[i] = k[i] * removal[i]
    scale = weights.rate_scale[layer, first:last]
    for i in range(scale.shape[0]):
        k[i] *= np.float32(1) + (rate[i] - np.float32(1)) * scale[i]
    v, v_first = scratch.v[t, first:last], scratch.v_first[t, first:last]
    if layer == 0:
        for i in range(v.shape[0]):
            v_first[i] = v[i]
        return
    mix, base = scratch.first[t, first:last], weights.first_base[layer, first:last]
    for i in range(base.shape[0]):
        mix[i] = sigmoid(base[i] + mix[i])
    for i in range(base.shape[0]):
        v[i] += (v_first[i] - v[i]) * mix[i]


@inner_kernel
def _head(weights, layer, head, sequence, state, batch, scratch):
    """WKV, group norm, bonus and gate of one head for all tokens of one sequence."""
    wkv_state = state.wkv[batch.slots[sequence], layer, head]  # [N, N]
    first, last = head * wkv_state.shape[0], (head + 1) * wkv_state.shape[0]
    bonus = weights.bonus[layer, first:last]
    norm_weight = weights.group_norm_weight[layer, first:last]
    norm_bias = weights.group_norm_bias[layer, first:last]
    for t in range(batch.starts[sequence], batch.starts[sequence + 1]):
        r, k = scratch.r[t, first:last], scratch.k[t, first:last]
        v, y = scratch.v[t, first:last], scratch.inputs.values[_Y, t, first:last]
        decay, rate = scratch.decay[t, first:last], scratch.rate[t, first:last]
        kk, gate = scratch.kk[t, first:last], scratch.gate[t, first:last]
        normalize(kk, kk)
        wkv7(wkv_state, r, decay, k, v, kk, rate, y)
        layer_norm(y, norm_weight, norm_bias, GROUP_NORM_EPSILON, y)
        for i in range(kk.shape[0]):
            kk[i] = r[i] * k[i] * bonus[i]
        current = sum_of_differences(kk.ctypes.data, kk.shape[0], np.float32(0))
        for i in range(y.shape[0]):
            y[i] = (y[i] + current * v[i]) * gate[i]


@inner_kernel
def _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens, channels = batch.tokens.shape[0], scratch.x.shape[1]
    inputs, hidden = scratch.inputs, scratch.channel_hidden
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = _norm_next(thread, begin, t, weights, layer, _CHANNEL, state, batch, scratch)
        mix, out = weights.channel_mix[layer], inputs.values[_K, t]
        token_shift(scratch.normed[t], previous, mix, out)
        quantize(weights.channel_key, inputs, _K, t, 0, channels)
    barrier(team, threads)
    _remember_last(thread, threads, layer, _CHANNEL, state, batch, scratch)
    w, values = weights.channel_key, hidden.values[0]
    begin, end = _project(thread, threads, w, layer, inputs, _K, values, tokens)
    for t in range(tokens):
        row = values[t, begin:end]
        for i in range(row.shape[0]):
            positive = max(row[i], np.float32(0))
            row[i] = positive * positive
        quantize(weights.channel_value, hidden, _FIRST, t, begin, end)
    barrier(team, threads)
    w = weights.channel_value
    begin, end = _project(thread, threads, w, layer, hidden, _FIRST, scratch.out, tokens)
    _add_residual(scratch, tokens, begin, end)


@inner_kernel
def _add_residual(scratch, tokens, begin, end):
    last = min(end, scratch.x.shape[1])
    for t in range(tokens):
        x, out = scratch.x[t, begin:last], scratch.out[t, begin:last]
        for i in range(x.shape[0]):
            x[i] += out[i]
