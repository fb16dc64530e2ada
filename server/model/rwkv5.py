"""RWKV-5 "Eagle" (arXiv 2404.05892) in its three revisions: the forward pass of a packed batch.

One head of a layer for the token t, in the symbols of the paper's section 4; x_t is the normed
input, and x_m stands for x_t + (x_{t−1} − x_t) ∘ µ_m with the token shift µ_m of m:

    r = W_r x_r,   k = W_k x_k,   v = W_v x_v,   g = W_g x_g
    y = S_{t−1} r + (Σ r ∘ u ∘ k) v
    S_t = S_{t−1} diag(w) + v kᵀ
    x += W_o (norm(y) ∘ silu(g))
    x += σ(W_r′ x_r′) ∘ W_v′ max(W_k′ x_k′, 0)²                   channel mixing

Here w is `decay`, u `bonus`, µ `mix` and `channel_mix`, norm the group norm of a head.

The revisions differ in what packing evens out (tensors.py): 5.0 and 5.1 have one decay and one
bonus for a head, 5.2 for a channel. 5.0 has no gate: its gate matrix has no rows.
"""

from typing import Any, NamedTuple

import numpy as np

from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import quantize
from server.kernels.matrices import Activations
from server.kernels.norm import layer_norm
from server.kernels.team import barrier, share
from server.model.arrays import Buffers
from server.model.layers import (
    KEY,
    RECEPTANCE,
    VALUE,
    apply_gate,
    attend,
    embed,
    gated_channel_mixing,
    project,
    project_inputs,
    project_residual,
    quantize_heads,
    share_heads,
    shift_inputs,
    write_logits,
)

# The four mixes, in the order of Weights.mix, and what the output projection takes.
_INPUT_SLOTS = 5
_G, _Y = np.int64(3), np.int64(4)


class Weights(NamedTuple):
    """All weights, stacked over layers, in the order in which a step reads them.

    A "matrix" is one of kernels/matrices.py.
    """

    embedding: Any  # [V, C] float32, or bits of bfloat16 (uint16) or float16 (int16)
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix: Any  # [L, 4, C] token shift of r, k, v, g; [L, 3, C] without a gate
    receptance: Any  # matrix [C, C]
    key: Any  # matrix [C, C]
    value: Any  # matrix [C, C]
    gate: Any  # matrix [C, C], or [0, C]
    decay: Any  # [L, C] exp(−exp(time_decay))
    bonus: Any  # [L, C] time_faaaa
    group_norm_weight: Any  # [L, C] ln_x
    group_norm_bias: Any  # [L, C]
    group_norm_epsilon: Any  # [1, 1]
    output: Any  # matrix [C, C]
    channel_mix: Any  # [L, 2, C] of k and r
    channel_key: Any  # matrix [F, C]
    channel_receptance: Any  # matrix [C, C]
    channel_value: Any  # matrix [C, F]
    head: Any  # matrix [V, C], L = 1


class Scratch(NamedTuple):
    """Buffers of one step: those of Buffers.shared() and two more, [T, C]."""

    x: Any  # [T, C] the residual stream
    normed: Any  # [T, C]
    borders: Any  # [threads, C]
    inputs: Activations  # [5, T, C] r, k, v, g, y
    r: Any  # [T, C]
    k: Any  # [T, C]
    v: Any  # [T, C]
    gate: Any  # [T, C] g
    products: Any  # [T, C] r ∘ u ∘ k
    out: Any  # [T, C]
    channel_hidden: Activations  # [1, T, F]
    last: Activations  # [1, R, C]
    logits: Any  # [R, V]


def allocate(buffers: Buffers) -> Scratch:
    """What step() needs."""
    own = {name: buffers.outputs(buffers.config.dim) for name in ("gate", "products")}
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
    shift_inputs(thread, threads, weights, layer, state, batch, scratch)
    _quantize_gate(thread, threads, weights, scratch, tokens)
    barrier(team, threads)
    project_inputs(thread, threads, weights, layer, state, batch, scratch, RECEPTANCE, KEY, VALUE)
    project(thread, threads, weights.gate, layer, inputs, _G, scratch.gate, tokens)
    barrier(team, threads)
    size = state.wkv.shape[3]
    first, last, is_whole = share_heads(thread, threads, state.wkv.shape[2], size)
    for sequence in range(batch.slots.shape[0]):
        for head in range(first, last):
            _head(weights, layer, head, sequence, state, batch, scratch)
    begin, end = first * size, last * size
    quantize_heads(team, thread, threads, weights, _Y, begin, end, is_whole, scratch, tokens)
    project_residual(thread, threads, weights.output, layer, inputs, _Y, scratch, tokens)


@inner_kernel
def _quantize_gate(thread, threads, weights, scratch, tokens):
    begin, end = share(thread, threads, tokens)
    if weights.gate.codes.shape[1] > 0:
        for t in range(begin, end):
            quantize(weights.gate, scratch.inputs, _G, t, 0, scratch.x.shape[1])


@inner_kernel
def _head(weights, layer, head, sequence, state, batch, scratch):
    """WKV, group norm and gate of one head for all tokens of one sequence."""
    wkv_state = state.wkv[batch.slots[sequence], layer, head]  # [N, N]
    first, last = head * wkv_state.shape[0], (head + 1) * wkv_state.shape[0]
    epsilon = weights.group_norm_epsilon[0, 0]
    bonus, decay = weights.bonus[layer, first:last], weights.decay[layer, first:last]
    norm_weight = weights.group_norm_weight[layer, first:last]
    norm_bias = weights.group_norm_bias[layer, first:last]
    for t in range(batch.starts[sequence], batch.starts[sequence + 1]):
        r, k = scratch.r[t, first:last], scratch.k[t, first:last]
        v, y = scratch.v[t, first:last], scratch.inputs.values[_Y, t, first:last]
        attend(wkv_state, r, decay, k, v, bonus, scratch.products[t, first:last], y)
        layer_norm(y, norm_weight, norm_bias, epsilon, y)
        if weights.gate.codes.shape[1] > 0:
            apply_gate(scratch.gate[t, first:last], y)
