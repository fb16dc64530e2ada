"""RWKV-6 "Finch" (arXiv 2404.05892): the forward pass of a packed batch, as one SPMD kernel.

One head of a layer for the token t, in the symbols of the paper's section 4; x_t is the normed
input and d = x_{t−1} − x_t. Token shift depends on the data, for m of w, k, v, r, g:

    x_m = x_t + d ∘ (λ_m + B_m tanh(A_m (x_t + d ∘ µ_x)))
    r = W_r x_r,   k = W_k x_k,   v = W_v x_v,   g = W_g x_g
    w = exp(−exp(λ_d + B_d tanh(A_d x_w)))                         decay
    y = S_{t−1} r + (Σ r ∘ u ∘ k) v
    S_t = S_{t−1} diag(w) + v kᵀ
    x += W_o (norm(y) ∘ silu(g))
    x += σ(W_r′ x_r′) ∘ W_v′ max(W_k′ x_k′, 0)²                   channel mixing

Here µ_x is `mix_base`, λ_m `mix`, A_m and B_m `mix_down` and `mix_up`; λ_d, A_d and B_d are
`decay_base`, `decay_down` and `decay_up`; u is `bonus`, norm the group norm of a head.
"""

from typing import Any, NamedTuple

import numpy as np

from server.kernels.activation import exp, tanh
from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import layer_of, multiply, quantize, share_rows
from server.kernels.matrices import Activations
from server.kernels.norm import layer_norm
from server.kernels.pack import aligned_zeros
from server.kernels.simd import LANES
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.model.arrays import Buffers
from server.model.layers import (
    GROUP_NORM_EPSILON,
    TIME,
    apply_gate,
    attend,
    embed,
    gated_channel_mixing,
    norm_next,
    project,
    project_inputs,
    project_low_rank,
    project_residual,
    quantize_heads,
    share_heads,
    write_logits,
)

# The five mixes, in the order of Weights.mix; what they depend on; and what the output takes.
_MIXES, _INPUT_SLOTS = 5, 7
_W, _K, _V, _R, _G, _X, _Y = np.arange(_INPUT_SLOTS)


class Weights(NamedTuple):
    """All weights, stacked over layers, in the order in which a step reads them.

    A "matrix" is one of kernels/matrices.py; a "low-rank" one always is a FloatMatrix.
    """

    embedding: Any  # [V, C] float32, or bits of bfloat16 (uint16) or float16 (int16)
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix_base: Any  # [L, C] token shift of what the others depend on
    mix_down: Any  # low-rank [5 · rank, C]
    mix_up: Any  # low-rank [C, rank], five in each layer
    mix: Any  # [L, 5, C] token shift of w, k, v, r, g
    receptance: Any  # matrix [C, C]
    key: Any  # matrix [C, C]
    value: Any  # matrix [C, C]
    gate: Any  # matrix [C, C]
    decay_base: Any  # [L, C] time_decay
    decay_down: Any  # low-rank [rank, C]
    decay_up: Any  # low-rank [C, rank]
    bonus: Any  # [L, C] time_faaaa
    group_norm_weight: Any  # [L, C] ln_x
    group_norm_bias: Any  # [L, C]
    output: Any  # matrix [C, C]
    channel_mix: Any  # [L, 2, C] of k and r
    channel_key: Any  # matrix [F, C]
    channel_receptance: Any  # matrix [C, C]
    channel_value: Any  # matrix [C, F]
    head: Any  # matrix [V, C], L = 1


class Scratch(NamedTuple):
    """Buffers of one step: those of Buffers.shared() and others, [T, C] where not said."""

    x: Any  # [T, C] the residual stream
    normed: Any  # [T, C]
    borders: Any  # [threads, C]
    inputs: Activations  # [7, T, C] w, k, v, r, g, x, y
    r: Any  # [T, C]
    k: Any  # [T, C]
    v: Any  # [T, C]
    gate: Any  # [T, C] g
    decay: Any  # [T, C] w
    products: Any  # [T, C] r ∘ u ∘ k
    out: Any  # [T, C]
    mix_hidden: Any  # [T, 5 · rank]
    mix_parts: Any  # [5, T, rank]
    decay_hidden: Any  # [T, rank]
    channel_hidden: Activations  # [1, T, F]
    last: Activations  # [1, R, C]
    logits: Any  # [R, V]


def allocate(buffers: Buffers) -> Scratch:
    """What step() needs."""
    config = buffers.config
    own = {name: buffers.outputs(config.dim) for name in ("gate", "decay", "products")}
    own["mix_hidden"] = buffers.outputs(_MIXES * config.ranks["mix"])
    shape = (_MIXES, len(own["mix_hidden"]), config.ranks["mix"])
    own["mix_parts"] = aligned_zeros(shape, np.float32)
    own["decay_hidden"] = buffers.outputs(config.ranks["decay"])
    return Scratch(**buffers.shared(_INPUT_SLOTS), **own)


@kernel
def step(team, thread, threads, weights, state, batch, scratch):
    """Read batch.tokens, advance the states, and write scratch.logits for batch.logit_rows."""
    weights, state = borrowed(weights), borrowed(state)
    batch, scratch = borrowed(batch), borrowed(scratch)
    embed(thread, threads, weights, batch, scratch)
    barrier(team, threads)
    for layer in range(weights.mix.shape[0]):
        _time_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
        gated_channel_mixing(team, thread, threads, weights, layer, state, batch, scratch)
        barrier(team, threads)
    write_logits(team, thread, threads, weights, batch.logit_rows, scratch)


@inner_kernel
def _time_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens, inputs = batch.tokens.shape[0], scratch.inputs
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = norm_next(thread, begin, t, weights, layer, TIME, state, batch, scratch)
        token_shift(scratch.normed[t], previous, weights.mix_base[layer], inputs.values[_X, t])
    barrier(team, threads)
    _mix_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    _time_inputs(thread, threads, weights, layer, state, batch, scratch)
    barrier(team, threads)
    project_inputs(thread, threads, weights, layer, state, batch, scratch, _R, _K, _V)
    project(thread, threads, weights.gate, layer, inputs, _G, scratch.gate, tokens)
    _decay_down(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    size = state.wkv.shape[3]
    first, last, is_whole = share_heads(thread, threads, state.wkv.shape[2], size)
    begin, end = first * size // LANES, last * size // LANES
    if not is_whole:
        begin, end = share_rows(thread, threads, weights.decay_up.codes.shape[1])
    w = layer_of(weights.decay_up, layer)
    multiply(w, scratch.decay_hidden, scratch.decay, tokens, begin, end)
    if not is_whole:
        barrier(team, threads)
    for t in range(tokens):
        _decay(weights, layer, t, first * size, last * size, scratch)
    for sequence in range(batch.slots.shape[0]):
        for head in range(first, last):
            _head(weights, layer, head, sequence, state, batch, scratch)
    begin, end = first * size, last * size
    quantize_heads(team, thread, threads, weights, _Y, begin, end, is_whole, scratch, tokens)
    project_residual(thread, threads, weights.output, layer, inputs, _Y, scratch, tokens)


@inner_kernel
def _mix_down(thread, threads, weights, layer, scratch, tokens):
    """mix_parts = tanh of the first half of the low-rank product that all mixes depend on."""
    hidden, parts = scratch.mix_hidden, scratch.mix_parts
    w, values = weights.mix_down, scratch.inputs.values[_X]
    begin, end = project_low_rank(thread, threads, w, layer, values, hidden, tokens)
    rank = parts.shape[2]
    for t in range(tokens):
        for i in range(begin, min(end, _MIXES * rank)):
            parts[i // rank, t, i % rank] = tanh(hidden[t, i])


@inner_kernel
def _time_inputs(thread, threads, weights, layer, state, batch, scratch):
    """Token shift and quantisation of a thread's channels of all tokens."""
    inputs, tokens = scratch.inputs, batch.tokens.shape[0]
    begin, end = share_rows(thread, threads, weights.mix_up.codes.shape[1])
    first, last = begin * LANES, min(end * LANES, scratch.x.shape[1])
    for m in range(_MIXES):
        w, base = layer_of(weights.mix_up, _MIXES * layer + m), weights.mix[layer, m, first:last]
        multiply(w, scratch.mix_parts[m], scratch.out, tokens, begin, end)
        for t in range(tokens):
            sequence, mix = batch.sequences[t], scratch.out[t, first:last]
            for i in range(base.shape[0]):
                mix[i] += base[i]
            previous = scratch.normed[t - 1, first:last]
            if t == batch.starts[sequence]:
                previous = state.shift[batch.slots[sequence], layer, TIME, first:last]
            normed, mixed = scratch.normed[t, first:last], inputs.values[m, t, first:last]
            token_shift(normed, previous, mix, mixed)
    for t in range(tokens):
        quantize(weights.receptance, inputs, _R, t, first, last)
        quantize(weights.key, inputs, _K, t, first, last)
        quantize(weights.value, inputs, _V, t, first, last)
        quantize(weights.gate, inputs, _G, t, first, last)


@inner_kernel
def _decay_down(thread, threads, weights, layer, scratch, tokens):
    hidden, values = scratch.decay_hidden, scratch.inputs.values[_W]
    w = weights.decay_down
    begin, end = project_low_rank(thread, threads, w, layer, values, hidden, tokens)
    for t in range(tokens):
        row = hidden[t, begin:end]
        for i in range(row.shape[0]):
            row[i] = tanh(row[i])


@inner_kernel
def _decay(weights, layer, t, first, last, scratch):
    decay, base = scratch.decay[t, first:last], weights.decay_base[layer, first:last]
    for i in range(base.shape[0]):
        decay[i] = exp(-exp(base[i] + decay[i]))


@inner_kernel
def _head(weights, layer, head, sequence, state, batch, scratch):
    """WKV, group norm and gate of one head for all tokens of one sequence."""
    wkv_state = state.wkv[batch.slots[sequence], layer, head]  # [N, N]
    first, last = head * wkv_state.shape[0], (head + 1) * wkv_state.shape[0]
    bonus = weights.bonus[layer, first:last]
    norm_weight = weights.group_norm_weight[layer, first:last]
    norm_bias = weights.group_norm_bias[layer, first:last]
    for t in range(batch.starts[sequence], batch.starts[sequence + 1]):
        r, k = scratch.r[t, first:last], scratch.k[t, first:last]
        v, y = scratch.v[t, first:last], scratch.inputs.values[_Y, t, first:last]
        decay = scratch.decay[t, first:last]
        attend(wkv_state, r, decay, k, v, bonus, scratch.products[t, first:last], y)
        layer_norm(y, norm_weight, norm_bias, GROUP_NORM_EPSILON, y)
        apply_gate(scratch.gate[t, first:last], y)
