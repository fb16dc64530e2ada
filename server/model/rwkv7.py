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
    for layer in range(weights.mix.shape[0]):
        _norm(thread, threads, weights, layer, _TIME, batch, scratch)
        barrier(team, threads)
        _time_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
        _norm(thread, threads, weights, layer, _CHANNEL, batch, scratch)
        barrier(team, threads)
        _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
    channels = scratch.x.shape[1]
    begin, end = share(thread, threads, batch.logit_rows.shape[0])
    for row in range(begin, end):
        x, out = scratch.x[batch.logit_rows[row]], scratch.last.values[0, row, :channels]
        layer_norm(x, weights.norm_weight[1], weights.norm_bias[1], LAYER_NORM_EPSILON, out)
    quantize(weights.head, scratch.last, _FIRST, begin, end)
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
def _norm(thread, threads, weights, layer, which, batch, scratch):
    begin, end = share(thread, threads, batch.tokens.shape[0])
    weight, bias = weights.block_norm_weight[layer, which], weights.block_norm_bias[layer, which]
    for t in range(begin, end):
        layer_norm(scratch.x[t], weight, bias, LAYER_NORM_EPSILON, scratch.normed[t])


@inner_kernel
def _previous(t, layer, which, state, batch, scratch):
    """The normed input of the token before token t in its sequence."""
    sequence = batch.sequences[t]
    if t == batch.starts[sequence]:
        return state.shift[batch.slots[sequence], layer, which]
    return scratch.normed[t - 1]


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
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = _previous(t, layer, _TIME, state, batch, scratch)
        for m in range(6):
            token_shift(scratch.normed[t], previous, weights.mix[layer, m], inputs.values[m, t])
    quantize(weights.receptance, inputs, _R, begin, end)
    quantize(weights.key, inputs, _K, begin, end)
    quantize(weights.value, inputs, _V, begin, end)
    barrier(team, threads)
    # Nobody reads the old shift state any more.
    _remember_last(thread, threads, layer, _TIME, state, batch, scratch)
    _project(thread, threads, weights.receptance, layer, inputs, _R, scratch.r, tokens)
    _project(thread, threads, weights.key, layer, inputs, _K, scratch.k, tokens)
    _project(thread, threads, weights.value, layer, inputs, _V, scratch.v, tokens)
    _low_rank_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    _low_rank_up(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    for t in range(begin, end):
        _prepare(weights, layer, t, scratch)
    barrier(team, threads)
    heads = state.wkv.shape[2]
    first, last = share(thread, threads, batch.slots.shape[0] * heads)
    for item in range(first, last):
        _head(weights, layer, item % heads, item // heads, state, batch, scratch)
    barrier(team, threads)
    quantize(weights.output, inputs, _Y, begin, end)
    barrier(team, threads)
    w, out = weights.output, scratch.out
    begin, end = _project(thread, threads, w, layer, inputs, _Y, out, tokens)
    _add_residual(scratch, tokens, begin, end)


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
def _low_rank_up(thread, threads, weights, layer, scratch, tokens):
    hidden = scratch.decay_hidden
    _project_low_rank(thread, threads, weights.decay_up, layer, hidden, scratch.decay, tokens)
    hidden = scratch.rate_hidden
    _project_low_rank(thread, threads, weights.rate_up, layer, hidden, scratch.rate, tokens)
    hidden = scratch.gate_hidden
    _project_low_rank(thread, threads, weights.gate_up, layer, hidden, scratch.gate, tokens)
    if layer > 0:
        hidden = scratch.first_hidden
        _project_low_rank(thread, threads, weights.first_up, layer, hidden, scratch.first, tokens)


@inner_kernel
def _prepare(weights, layer, t, scratch):
    """Turn the projections of one token into decay, rate, removal key, key and value.

    In short loops over few arrays, which LLVM turns into vector code.
    """
    decay, base = scratch.decay[t], weights.decay_base[layer]
    for i in range(base.shape[0]):
        decay[i] = exp(np.float32(-DECAY_SCALE) * sigmoid(base[i] + decay[i]))
    rate, base = scratch.rate[t], weights.rate_base[layer]
    for i in range(base.shape[0]):
        rate[i] = sigmoid(base[i] + rate[i])
    k, kk, removal = scratch.k[t], scratch.kk[t], weights.removal_scale[layer]
    for i in range(removal.shape[0]):
        kk[i] = k[i] * removal[i]
    scale = weights.rate_scale[layer]
    for i in range(scale.shape[0]):
        k[i] *= np.float32(1) + (rate[i] - np.float32(1)) * scale[i]
    v, v_first, mix = scratch.v[t], scratch.v_first[t], scratch.first[t]
    if layer == 0:
        for i in range(v.shape[0]):
            v_first[i] = v[i]
        return
    base = weights.first_base[layer]
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
    tokens = batch.tokens.shape[0]
    inputs, hidden = scratch.inputs, scratch.channel_hidden
    first, last = share(thread, threads, tokens)
    for t in range(first, last):
        previous = _previous(t, layer, _CHANNEL, state, batch, scratch)
        mix, out = weights.channel_mix[layer], inputs.values[_K, t]
        token_shift(scratch.normed[t], previous, mix, out)
    quantize(weights.channel_key, inputs, _K, first, last)
    barrier(team, threads)
    _remember_last(thread, threads, layer, _CHANNEL, state, batch, scratch)
    w, values = weights.channel_key, hidden.values[0]
    begin, end = _project(thread, threads, w, layer, inputs, _K, values, tokens)
    for t in range(tokens):
        row = values[t, begin:end]
        for i in range(row.shape[0]):
            positive = max(row[i], np.float32(0))
            row[i] = positive * positive
    barrier(team, threads)
    quantize(weights.channel_value, hidden, _FIRST, first, last)
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
