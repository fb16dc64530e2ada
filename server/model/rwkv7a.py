"""RWKV-7a: RWKV-7 with a deep embedding (DeepEmbed, RWKV-v7/rwkv_v7a_demo.py of RWKV-LM).

Channel mixing multiplies its hidden channels with what a token's entry of a table makes of the
input: k ← max(K x_k, 0)² · (s0 + ((x s1) E_token) s2), where x is the input without token shift.
"""

from typing import Any, NamedTuple

import numpy as np

from server.kernels.borrow import borrowed
from server.kernels.deep_embedding import multiply_entry
from server.kernels.jit import inner_kernel, kernel
from server.kernels.linear import layer_of, multiply, quantize
from server.kernels.matrices import Activations
from server.kernels.simd import LANES
from server.kernels.team import barrier, share
from server.kernels.token_shift import token_shift
from server.model import rwkv7
from server.model.arrays import Buffers
from server.model.layers import (
    CHANNEL,
    FIRST,
    KEY,
    embed,
    norm_next,
    project,
    project_residual,
    remember_last,
    write_logits,
)
from server.model.rwkv7 import time_mixing

_RANK = 32


class Weights(NamedTuple):
    """All weights: those of rwkv7.Weights and four more."""

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
    deep_embedding: Any  # [V, L, 32 · 32] float32, or bits of float16 (int16): s_emb, merged
    deep_down: Any  # low-rank [32, C] s1
    deep_up: Any  # low-rank [F, 32] s2
    deep_base: Any  # [L, F] s0


class Scratch(NamedTuple):
    """Buffers of one step: those of rwkv7.Scratch and three more."""

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
    deep_inner: Any  # [T, 32] x s1
    deep_mixed: Any  # [T, 32] the same times the token's entry
    deep_scale: Any  # [T, F]


def allocate(buffers: Buffers) -> Scratch:
    """What step() needs."""
    return Scratch(
        **rwkv7.allocate(buffers)._asdict(),
        deep_inner=buffers.outputs(_RANK),
        deep_mixed=buffers.outputs(_RANK),
        deep_scale=buffers.outputs(buffers.config.ffn_dim),
    )


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
def _channel_mixing(team, thread, threads, weights, layer, state, batch, scratch):
    tokens, channels = batch.tokens.shape[0], scratch.x.shape[1]
    inputs = scratch.inputs
    begin, end = share(thread, threads, tokens)
    for t in range(begin, end):
        previous = norm_next(thread, begin, t, weights, layer, CHANNEL, state, batch, scratch)
        mix, out = weights.channel_mix[layer], inputs.values[KEY, t]
        token_shift(scratch.normed[t], previous, mix, out)
        quantize(weights.channel_key, inputs, KEY, t, 0, channels)
    _mix_entries(weights, layer, batch, scratch, begin, end)
    barrier(team, threads)
    remember_last(thread, threads, layer, CHANNEL, state, batch, scratch)
    _scaled_square_relu(thread, threads, weights, layer, scratch, tokens)
    barrier(team, threads)
    w, hidden = weights.channel_value, scratch.channel_hidden
    project_residual(thread, threads, w, layer, hidden, FIRST, scratch, tokens)


@inner_kernel
def _mix_entries(weights, layer, batch, scratch, begin, end):
    """deep_mixed = (x s1) E_token of tokens begin … end − 1, which this thread has normed."""
    w, x, inner = layer_of(weights.deep_down, layer), scratch.normed, scratch.deep_inner
    multiply(w, x[begin:end], inner[begin:end], end - begin, 0, w.codes.shape[0])
    for t in range(begin, end):
        entry = weights.deep_embedding[batch.tokens[t], layer]
        multiply_entry(entry, inner[t], scratch.deep_mixed[t])


@inner_kernel
def _scaled_square_relu(thread, threads, weights, layer, scratch, tokens):
    """channel_hidden = max(K x, 0)² · (s0 + deep_mixed s2), for this thread's hidden channels."""
    w, hidden, scales = weights.channel_key, scratch.channel_hidden, scratch.deep_scale
    values, base = hidden.values[0], weights.deep_base[layer]
    begin, end = project(thread, threads, w, layer, scratch.inputs, KEY, values, tokens)
    w = layer_of(weights.deep_up, layer)
    multiply(w, scratch.deep_mixed, scales, tokens, begin // LANES, end // LANES)
    last = min(end, base.shape[0])  # beyond it there are zeros
    for t in range(tokens):
        row, scale, added = values[t, begin:last], scales[t, begin:last], base[begin:last]
        for i in range(row.shape[0]):
            positive = max(row[i], np.float32(0))
            row[i] = positive * positive * (added[i] + scale[i])
        quantize(weights.channel_value, hidden, FIRST, t, begin, end)
