"""RWKV-7 "Goose" (arXiv 2503.14456): the forward pass of a packed batch, as one SPMD kernel.

One head of a layer for the token t, in the symbols of the paper's section 4; x_t is the normed
input, x_m stands for x_t + (x_{t−1} − x_t) ∘ µ_m with the token shift µ_m of m, and lora_m for a
bias and two low-rank matrices with an activation between them:

    r = W_r x_r,   k = W_k x_k,   v = W_v x_v
    w = exp(−e^{−1/2} σ(lora_w(x_w)))                    decay; tanh inside
    a = σ(lora_a(x_a))                                   in-context learning rate
    g = lora_g(x_g)                                      gate; σ inside, no bias
    v ← v + σ(lora_ν(x_v)) ∘ (v of layer 0 − v)          value residual, from layer 1 on
    κ̂ = (k ∘ ξ) / ‖k ∘ ξ‖₂                               removal key
    k̃ = k ∘ (1 + (a − 1) ∘ α)                            replacement key
    S_t = S_{t−1} (diag(w) − κ̂ (a ∘ κ̂)ᵀ) + v k̃ᵀ
    x += W_o ((norm(S_t r) + (Σ r ∘ ρ ∘ k̃) v) ∘ g)
    x += W_v′ max(W_k′ x_k′, 0)²                         channel mixing

Here w is `decay`, a `rate`, σ(lora_ν) `first`, κ̂ `kk`, ξ `removal_scale`, α `rate_scale`,
ρ `bonus`, the v of layer 0 `v_first`, and lora_w `decay_base`, `decay_down`, `decay_up`, the others
alike; norm is the group norm of a head.

A batch is T tokens of S sequences, one after another. Only token shift and WKV look at the borders
between sequences, so prefill, decode and any mixture of them are the same code.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from server.kernels.activation import exp, sigmoid, tanh
from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import layer_of, multiply, quantize, share_rows
from server.kernels.matrices import Activations
from server.kernels.norm import layer_norm
from server.kernels.simd import LANES
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.kernels.wkv7 import normalize, wkv7
from server.model.arrays import Buffers
from server.model.layers import (
    CHANNEL,
    FIRST,
    KEY,
    LAYER_NORM_EPSILON,
    RECEPTANCE,
    VALUE,
    bonus_of,
    embed,
    norm_next,
    project_inputs,
    project_low_rank,
    project_residual,
    quantize_heads,
    remember_last,
    share_heads,
    shift_inputs,
    square_relu,
    write_logits,
)

DECAY_SCALE = math.exp(-0.5)
# The six mixes, in the order of Weights.mix, and what the output projection takes.
_INPUT_SLOTS = 7
_W, _A, _G, _Y = np.arange(3, _INPUT_SLOTS)


class Weights(NamedTuple):
    """All weights, stacked over layers, in the order in which a step reads them.

    A "matrix" is one of kernels/matrices.py; a "low-rank" one always is a FloatMatrix.
    """

    embedding: Any  # [V, C] float32, or bits of bfloat16 (uint16) or float16 (int16)
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix: Any  # [L, 6, C] token shift of r, k, v, w, a, g
    receptance: Any  # matrix [C, C]
    key: Any  # matrix [C, C]
    value: Any  # matrix [C, C]
    decay_base: Any  # [L, C] w0
    decay_down: Any  # low-rank [rank, C] w1
    gate_down: Any  # low-rank [rank, C] g1
    rate_base: Any  # [L, C] a0, the in-context learning rate
    rate_down: Any  # low-rank [rank, C] a1
    first_base: Any  # [L, C] v0, how much of layer 0's value is mixed in
    first_down: Any  # low-rank [rank, C] v1
    decay_up: Any  # low-rank [C, rank] w2
    rate_up: Any  # low-rank [C, rank] a2
    gate_up: Any  # low-rank [C, rank] g2
    first_up: Any  # low-rank [C, rank] v2
    removal_scale: Any  # [L, C] k_k
    rate_scale: Any  # [L, C] k_a
    bonus: Any  # [L, C] r_k
    group_norm_weight: Any  # [L, C] ln_x
    group_norm_bias: Any  # [L, C]
    output: Any  # matrix [C, C]
    channel_mix: Any  # [L, C]
    channel_key: Any  # matrix [F, C]
    channel_value: Any  # matrix [C, F]
    head: Any  # matrix [V, C], L = 1


class Scratch(NamedTuple):
    """Buffers of one step: those of Buffers.shared() and others, [T, C] or [T, rank]."""

    x: Any  # [T, C] the residual stream
    normed: Any  # [T, C]
    borders: Any  # [threads, C]
    inputs: Activations  # [7, T, C] r, k, v, w, a, g, y
    r: Any  # [T, C]
    k: Any  # [T, C]
    v: Any  # [T, C]
    v_first: Any  # [T, C]
    decay: Any  # [T, C] w
    rate: Any  # [T, C] a
    first: Any  # [T, C] σ(lora_ν)
    gate: Any  # [T, C] g
    kk: Any  # [T, C] κ̂
    out: Any  # [T, C]
    decay_hidden: Any  # [T, rank]
    rate_hidden: Any  # [T, rank]
    first_hidden: Any  # [T, rank]
    gate_hidden: Any  # [T, rank]
    channel_hidden: Activations  # [1, T, F]
    last: Activations  # [1, R, C]
    logits: Any  # [R, V]


def allocate(buffers: Buffers) -> Scratch:
    """What step() needs."""
    config = buffers.config
    wide = ("v_first", "decay", "rate", "first", "gate", "kk")
    own = {name: buffers.outputs(config.dim) for name in wide}
    own |= {
        f"{name}_hidden": buffers.outputs(max(config.ranks[name], 1))
        for name in ("decay", "rate", "first", "gate")
    }
    return Scratch(**buffers.shared(_INPUT_SLOTS), **own)


@kernel
def step(team, thread, threads, weights, state, batch, scratch):
    """Read batch.tokens, advance the states, and write scratch.logits for batch.logit_rows."""
    weights, state = borrowed(weights), borrowed(state)
    batch, scratch = borrowed(batch), borrowed(scratch)
    embed(thread, threads, weights, batch, scratch)
    barrier(team, threads)
    for layer in range(weights.mix.shape[0]):
        time_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
        _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
    write_logits(team, thread, threads, weights, batch.logit_rows, scratch)


@inner_kernel
def time_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    """x += what a layer's time mixing makes of it, for all tokens."""
    tokens = batch.tokens.shape[0]
    inputs = scratch.inputs
    shift_inputs(thread, threads, weights, layer, state, batch, scratch)
    barrier(team, threads)
    project_inputs(thread, threads, weights, layer, state, batch, scratch, RECEPTANCE, KEY, VALUE)
    _low_rank_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    size = state.wkv.shape[3]
    first, last, is_whole = share_heads(thread, threads, state.wkv.shape[2], size)
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
    begin, end = first * size, last * size
    quantize_heads(team, thread, threads, weights, _Y, begin, end, is_whole, scratch, tokens)
    project_residual(thread, threads, weights.output, layer, inputs, _Y, scratch, tokens)


@inner_kernel
def _low_rank_down(thread, threads, weights, layer, scratch, tokens):
    mixed, decay, gate = scratch.inputs.values, scratch.decay_hidden, scratch.gate_hidden
    w = weights.decay_down
    begin, end = project_low_rank(thread, threads, w, layer, mixed[_W], decay, tokens)
    for t in range(tokens):
        row = decay[t, begin:end]
        for i in range(row.shape[0]):
            row[i] = tanh(row[i])
    w = weights.gate_down
    begin, end = project_low_rank(thread, threads, w, layer, mixed[_G], gate, tokens)
    for t in range(tokens):
        row = gate[t, begin:end]
        for i in range(row.shape[0]):
            row[i] = sigmoid(row[i])
    w, rate, first = weights.rate_down, scratch.rate_hidden, scratch.first_hidden
    project_low_rank(thread, threads, w, layer, mixed[_A], rate, tokens)
    if layer > 0:
        w = weights.first_down
        project_low_rank(thread, threads, w, layer, mixed[VALUE], first, tokens)


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
    epsilon = wkv_state.shape[0] * LAYER_NORM_EPSILON
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
        layer_norm(y, norm_weight, norm_bias, epsilon, y)
        current = bonus_of(r, k, bonus, kk)
        for i in range(y.shape[0]):
            y[i] = (y[i] + current * v[i]) * gate[i]


@inner_kernel
def _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens, channels = batch.tokens.shape[0], scratch.x.shape[1]
    inputs = scratch.inputs
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = norm_next(thread, begin, t, weights, layer, CHANNEL, state, batch, scratch)
        mix, out = weights.channel_mix[layer], inputs.values[KEY, t]
        token_shift(scratch.normed[t], previous, mix, out)
        quantize(weights.channel_key, inputs, KEY, t, 0, channels)
    barrier(team, threads)
    remember_last(thread, threads, layer, CHANNEL, state, batch, scratch)
    square_relu(thread, threads, weights, layer, inputs, KEY, scratch, tokens)
    barrier(team, threads)
    w, hidden = weights.channel_value, scratch.channel_hidden
    project_residual(thread, threads, w, layer, hidden, FIRST, scratch, tokens)
