"""RWKV-7 "Goose" (arXiv 2503.14456): the forward pass of a packed batch, as one SPMD kernel.

A batch is T tokens of S sequences, one after another. Only token shift and WKV look at the borders
between sequences, so prefill, decode and any mixture of them are the same code.
C channels, H heads of N channels, L layers, F hidden channels, V vocabulary, R rows with logits.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from server.kernels.jit import kernel
from server.kernels.linear import linear
from server.kernels.norm import layer_norm
from server.kernels.simd import LANES, widen
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.kernels.wkv7 import normalize, wkv7

LAYER_NORM_EPSILON = 1e-5
GROUP_NORM_EPSILON = 64e-5
DECAY_SCALE = math.exp(-0.5)
MIXES = ("r", "w", "k", "v", "a", "g")
_R, _W, _K, _V, _A, _G = range(6)
# Typed, because Numba compiles a function once more for every literal argument.
_TIME, _CHANNEL, _FIRST = np.int64(0), np.int64(1), np.int64(0)


class Weights(NamedTuple):
    """All weights, stacked over layers. "packed" is [L, ⌈rows/16⌉, columns, 16], see pack.py."""

    embedding: Any  # [V, C] float32 or bfloat16 bits
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix: Any  # [L, 6, C] token shift of r, w, k, v, a, g
    receptance: Any  # packed [C, C]
    key: Any  # packed [C, C]
    value: Any  # packed [C, C]
    output: Any  # packed [C, C]
    decay_base: Any  # [L, C] w0
    decay_down: Any  # packed [rank, C] w1
    decay_up: Any  # packed [C, rank] w2
    rate_base: Any  # [L, C] a0, the in-context learning rate
    rate_down: Any
    rate_up: Any
    first_base: Any  # [L, C] v0, how much of layer 0's value is mixed in
    first_down: Any
    first_up: Any
    gate_down: Any
    gate_up: Any
    removal_scale: Any  # [L, C] k_k
    rate_scale: Any  # [L, C] k_a
    bonus: Any  # [L, C] r_k
    group_norm_weight: Any  # [L, C] ln_x
    group_norm_bias: Any  # [L, C]
    channel_mix: Any  # [L, C]
    channel_key: Any  # packed [F, C]
    channel_value: Any  # packed [C, F]
    head: Any  # packed [V, C], L = 1


class State(NamedTuple):
    """What the model remembers of the sequence in each slot."""

    shift: Any  # [slots, L, 2, C] last normed input of time mixing and of channel mixing
    wkv: Any  # [slots, L, H, N, N] keys by values


class Batch(NamedTuple):
    """What one step computes."""

    tokens: Any  # [T] int64
    sequences: Any  # [T] int64, which sequence a token belongs to
    starts: Any  # [S + 1] int64, where sequences start and end in tokens
    slots: Any  # [S] int64, where their states are
    logit_rows: Any  # [R] int64, tokens whose logits are wanted


class Scratch(NamedTuple):
    """Buffers of one step, [T, …] float32; widths of outputs are padded to 16."""

    x: Any
    normed: Any
    mixed: Any  # [6, T, C]
    r: Any
    k: Any
    v: Any
    v_first: Any
    decay: Any
    rate: Any
    first: Any
    gate: Any
    kk: Any
    y: Any
    out: Any
    decay_hidden: Any  # [T, rank]
    rate_hidden: Any
    first_hidden: Any
    gate_hidden: Any
    channel_hidden: Any  # [T, F]
    last: Any  # [R, C]
    logits: Any  # [R, V]


@kernel
def step(team, thread, threads, weights, state, batch, scratch):
    """Read batch.tokens, advance the states, and write scratch.logits for batch.logit_rows."""
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
    begin, end = share(thread, threads, batch.logit_rows.shape[0])
    for row in range(begin, end):
        x, out = scratch.x[batch.logit_rows[row]], scratch.last[row]
        layer_norm(x, weights.norm_weight[1], weights.norm_bias[1], LAYER_NORM_EPSILON, out)
    barrier(team, threads)
    rows = batch.logit_rows.shape[0]
    _project(thread, threads, weights.head, _FIRST, scratch.last, scratch.logits, rows)


@kernel
def _embed(thread, threads, weights, batch, scratch):
    begin, end = share(thread, threads, batch.tokens.shape[0])
    for t in range(begin, end):
        row, x = weights.embedding[batch.tokens[t]], scratch.x[t]
        for i in range(row.shape[0]):
            x[i] = widen(row[i])
        layer_norm(x, weights.norm_weight[0], weights.norm_bias[0], LAYER_NORM_EPSILON, x)


@kernel
def _norm(thread, threads, weights, layer, which, batch, scratch):
    begin, end = share(thread, threads, batch.tokens.shape[0])
    weight, bias = weights.block_norm_weight[layer, which], weights.block_norm_bias[layer, which]
    for t in range(begin, end):
        layer_norm(scratch.x[t], weight, bias, LAYER_NORM_EPSILON, scratch.normed[t])


@kernel
def _previous(t, layer, which, state, batch, scratch):
    """The normed input of the token before token t in its sequence."""
    sequence = batch.sequences[t]
    if t == batch.starts[sequence]:
        return state.shift[batch.slots[sequence], layer, which]
    return scratch.normed[t - 1]


@kernel
def _remember_last(thread, threads, layer, which, state, batch, scratch):
    begin, end = share(thread, threads, batch.slots.shape[0])
    for s in range(begin, end):
        shift = state.shift[batch.slots[s], layer, which]
        normed = scratch.normed[batch.starts[s + 1] - 1]
        for i in range(shift.shape[0]):
            shift[i] = normed[i]


@kernel
def _project(thread, threads, w, layer, x, y, tokens):
    """This thread's share of y = W x; returns which outputs it computed."""
    begin, end = share(thread, threads, w.shape[1])
    linear(w[layer], x, y, tokens, begin, end)
    return begin * LANES, end * LANES


@kernel
def _sigmoid(x):
    return np.float32(1) / (np.float32(1) + np.float32(math.exp(-x)))


@kernel
def _time_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens = batch.tokens.shape[0]
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = _previous(t, layer, _TIME, state, batch, scratch)
        for m in range(6):
            token_shift(scratch.normed[t], previous, weights.mix[layer, m], scratch.mixed[m, t])
    barrier(team, threads)
    # Nobody reads the old shift state any more.
    _remember_last(thread, threads, layer, _TIME, state, batch, scratch)
    mixed = scratch.mixed
    _project(thread, threads, weights.receptance, layer, mixed[_R], scratch.r, tokens)
    _project(thread, threads, weights.key, layer, mixed[_K], scratch.k, tokens)
    _project(thread, threads, weights.value, layer, mixed[_V], scratch.v, tokens)
    _low_rank_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    _project(thread, threads, weights.decay_up, layer, scratch.decay_hidden, scratch.decay, tokens)
    _project(thread, threads, weights.rate_up, layer, scratch.rate_hidden, scratch.rate, tokens)
    _project(thread, threads, weights.gate_up, layer, scratch.gate_hidden, scratch.gate, tokens)
    if layer > 0:
        hidden = scratch.first_hidden
        _project(thread, threads, weights.first_up, layer, hidden, scratch.first, tokens)
    barrier(team, threads)
    heads = state.wkv.shape[2]
    begin, end = share(thread, threads, batch.slots.shape[0] * heads)
    for item in range(begin, end):
        _head(weights, layer, item % heads, item // heads, state, batch, scratch)
    barrier(team, threads)
    begin, end = _project(thread, threads, weights.output, layer, scratch.y, scratch.out, tokens)
    _add_residual(scratch, tokens, begin, end)


@kernel
def _low_rank_down(thread, threads, weights, layer, scratch, tokens):
    mixed, decay, gate = scratch.mixed, scratch.decay_hidden, scratch.gate_hidden
    begin, end = _project(thread, threads, weights.decay_down, layer, mixed[_W], decay, tokens)
    for t in range(tokens):
        for i in range(begin, end):
            decay[t, i] = math.tanh(decay[t, i])
    begin, end = _project(thread, threads, weights.gate_down, layer, mixed[_G], gate, tokens)
    for t in range(tokens):
        for i in range(begin, end):
            gate[t, i] = _sigmoid(gate[t, i])
    _project(thread, threads, weights.rate_down, layer, mixed[_A], scratch.rate_hidden, tokens)
    if layer > 0:
        hidden = scratch.first_hidden
        _project(thread, threads, weights.first_down, layer, mixed[_V], hidden, tokens)


@kernel
def _head(weights, layer, head, sequence, state, batch, scratch):
    """WKV, group norm, bonus and gate of one head for all tokens of one sequence."""
    wkv_state = state.wkv[batch.slots[sequence], layer, head]  # [N, N]
    first, last = head * wkv_state.shape[0], (head + 1) * wkv_state.shape[0]
    bonus = weights.bonus[layer, first:last]
    norm_weight = weights.group_norm_weight[layer, first:last]
    norm_bias = weights.group_norm_bias[layer, first:last]
    for t in range(batch.starts[sequence], batch.starts[sequence + 1]):
        _prepare(weights, layer, t, first, last, scratch)
        r, k = scratch.r[t, first:last], scratch.k[t, first:last]
        v, y = scratch.v[t, first:last], scratch.y[t, first:last]
        decay, rate = scratch.decay[t, first:last], scratch.rate[t, first:last]
        wkv7(wkv_state, r, decay, k, v, scratch.kk[t, first:last], rate, y)
        layer_norm(y, norm_weight, norm_bias, GROUP_NORM_EPSILON, y)
        current = np.float32(0)
        for i in range(y.shape[0]):
            current += r[i] * k[i] * bonus[i]
        for i in range(y.shape[0]):
            y[i] = (y[i] + current * v[i]) * scratch.gate[t, first + i]


@kernel
def _prepare(weights, layer, t, first, last, scratch):
    """Turn the projections of one token and head into decay, rate, key, value and removal key."""
    k, v, rate, kk = scratch.k[t], scratch.v[t], scratch.rate[t], scratch.kk[t]
    for i in range(first, last):
        decay = _sigmoid(weights.decay_base[layer, i] + scratch.decay[t, i])
        scratch.decay[t, i] = math.exp(np.float32(-DECAY_SCALE) * decay)
        rate[i] = _sigmoid(weights.rate_base[layer, i] + rate[i])
        kk[i] = k[i] * weights.removal_scale[layer, i]
        k[i] *= np.float32(1) + (rate[i] - np.float32(1)) * weights.rate_scale[layer, i]
        if layer == 0:
            scratch.v_first[t, i] = v[i]
        else:
            share_of_first = _sigmoid(weights.first_base[layer, i] + scratch.first[t, i])
            v[i] += (scratch.v_first[t, i] - v[i]) * share_of_first
    normalize(kk[first:last], kk[first:last])


@kernel
def _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens = batch.tokens.shape[0]
    mixed, hidden = scratch.mixed[0], scratch.channel_hidden
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = _previous(t, layer, _CHANNEL, state, batch, scratch)
        token_shift(scratch.normed[t], previous, weights.channel_mix[layer], mixed[t])
    barrier(team, threads)
    _remember_last(thread, threads, layer, _CHANNEL, state, batch, scratch)
    begin, end = _project(thread, threads, weights.channel_key, layer, mixed, hidden, tokens)
    for t in range(tokens):
        for i in range(begin, end):
            positive = max(hidden[t, i], np.float32(0))
            hidden[t, i] = positive * positive
    barrier(team, threads)
    w = weights.channel_value
    begin, end = _project(thread, threads, w, layer, hidden, scratch.out, tokens)
    _add_residual(scratch, tokens, begin, end)


@kernel
def _add_residual(scratch, tokens, begin, end):
    last = min(end, scratch.x.shape[1])
    for t in range(tokens):
        for i in range(begin, last):
            scratch.x[t, i] += scratch.out[t, i]
