"""RWKV-4 "Dove" (arXiv 2305.13048): the forward pass of a packed batch, as one SPMD kernel.

One layer for the token t, in the symbols of the paper's section 3; x_t is the normed input, and
x_m stands for x_t + (x_{t−1} − x_t) ∘ µ_m with the token shift µ_m of m:

    r = W_r x_r,   k = W_k x_k,   v = W_v x_v
    wkv_t = (Σ_{i<t} e^{(t−1−i) w + k_i} v_i + e^{u + k_t} v_t) / (the same without the v)
    x += W_o (σ(r) ∘ wkv_t)
    x += σ(W_r′ x_r′) ∘ W_v′ max(W_k′ x_k′, 0)²                   channel mixing

Here w is `decay` (negative, a rate for each channel), u `bonus`, µ `mix` and `channel_mix`.
"""

from typing import Any, NamedTuple

import numpy as np

from server.kernels.activation import sigmoid
from server.kernels.borrow import borrowed
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import quantize, share_rows
from server.kernels.matrices import Activations
from server.kernels.simd import LANES
from server.kernels.team import barrier
from server.kernels.wkv4 import wkv4
from server.model.arrays import Buffers
from server.model.layers import (
    KEY,
    RECEPTANCE,
    VALUE,
    embed,
    gated_channel_mixing,
    project_inputs,
    project_residual,
    shift_inputs,
    write_logits,
)

# The three mixes, in the order of Weights.mix, and what the output projection takes.
_INPUT_SLOTS = 4
_Y = np.int64(3)


class Weights(NamedTuple):
    """All weights, stacked over layers, in the order in which a step reads them.

    A "matrix" is one of kernels/matrices.py.
    """

    embedding: Any  # [V, C] float32, or bits of bfloat16 (uint16) or float16 (int16)
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix: Any  # [L, 3, C] token shift of r, k, v
    receptance: Any  # matrix [C, C]
    key: Any  # matrix [C, C]
    value: Any  # matrix [C, C]
    decay: Any  # [L, C] −exp(time_decay)
    bonus: Any  # [L, C] time_first
    output: Any  # matrix [C, C]
    channel_mix: Any  # [L, 2, C] of k and r
    channel_key: Any  # matrix [F, C]
    channel_receptance: Any  # matrix [C, C]
    channel_value: Any  # matrix [C, F]
    head: Any  # matrix [V, C], L = 1


class Scratch(NamedTuple):
    """Buffers of one step: those of Buffers.shared()."""

    x: Any  # [T, C] the residual stream
    normed: Any  # [T, C]
    borders: Any  # [threads, C]
    inputs: Activations  # [4, T, C] r, k, v, y
    r: Any  # [T, C]
    k: Any  # [T, C]
    v: Any  # [T, C]
    out: Any  # [T, C]
    channel_hidden: Activations  # [1, T, F]
    last: Activations  # [1, R, C]
    logits: Any  # [R, V]


def allocate(buffers: Buffers) -> Scratch:
    """What step() needs."""
    return Scratch(**buffers.shared(_INPUT_SLOTS))


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
    tokens, channels = batch.tokens.shape[0], scratch.x.shape[1]
    inputs = scratch.inputs
    shift_inputs(thread, threads, weights, layer, state, batch, scratch)
    barrier(team, threads)
    project_inputs(thread, threads, weights, layer, state, batch, scratch, RECEPTANCE, KEY, VALUE)
    # A channel stays on its thread: the matrices have equally many rows.
    begin, end = share_rows(thread, threads, weights.key.codes.shape[1])
    first, last = begin * LANES, min(end * LANES, channels)
    for sequence in range(batch.slots.shape[0]):
        _channels(weights, layer, first, last, sequence, state, batch, scratch)
    for t in range(tokens):
        quantize(weights.output, inputs, _Y, t, first, last)
    barrier(team, threads)
    project_residual(thread, threads, weights.output, layer, inputs, _Y, scratch, tokens)


@inner_kernel
def _channels(weights, layer, first, last, sequence, state, batch, scratch):
    """WKV and receptance of some channels for all tokens of one sequence."""
    wkv_state = state.wkv[batch.slots[sequence], layer][:, first:last]
    decay, bonus = weights.decay[layer, first:last], weights.bonus[layer, first:last]
    for t in range(batch.starts[sequence], batch.starts[sequence + 1]):
        k, v = scratch.k[t, first:last], scratch.v[t, first:last]
        r, y = scratch.r[t, first:last], scratch.inputs.values[_Y, t, first:last]
        wkv4(wkv_state, decay, bonus, k, v, y)
        for i in range(y.shape[0]):
            y[i] *= sigmoid(r[i])
