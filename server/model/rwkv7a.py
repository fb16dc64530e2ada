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

    embedding: Any
    norm_weight: Any
    norm_bias: Any
    block_norm_weight: Any
    block_norm_bias: Any
    mix: Any
    receptance: Any
    key: Any
    value: Any
    decay_base: Any
    decay_down: Any
    gate_down: Any
    rate_base: Any
    rate_down: Any
    first_base: Any
    first_down: Any
    decay_up: Any
    rate_up: Any
    gate_up: Any
    first_up: Any
    removal_scale: Any
    rate_scale: Any
    bonus: Any
    group_norm_weight: Any
    group_norm_bias: Any
    output: Any
    channel_mix: Any
    channel_key: Any
    channel_value: Any
    head: Any
    deep_embedding: Any  # [V, L, 32 · 32] float32, or bits of float16 (int16): s_emb, merged
    deep_down: Any  # low-rank [32, C] s1
    deep_up: Any  # low-rank [F, 32] s2
    deep_base: Any  # [L, F] s0


class Scratch(NamedTuple):
    """Buffers of one step: those of rwkv7.Scratch and three more."""

    x: Any
    normed: Any
    borders: Any
    inputs: Activations
    r: Any
    k: Any
    v: Any
    v_first: Any
    decay: Any
    rate: Any
    first: Any
    gate: Any
    kk: Any
    out: Any
    decay_hidden: Any
    rate_hidden: Any
    first_hidden: Any
    gate_hidden: Any
    channel_hidden: Activations
    last: Activations
    logits: Any
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
