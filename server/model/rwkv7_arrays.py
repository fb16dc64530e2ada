"""The arrays that the forward pass of RWKV-7 works on, grouped.

C channels, H heads of N channels, L layers, F hidden channels, V vocabulary, T tokens of S
sequences, R rows with logits.
"""

from typing import Any, NamedTuple

from server.kernels.matrices import Activations


class Weights(NamedTuple):
    """All weights, stacked over layers.

    A "matrix" is one of kernels/matrices.py; a "low-rank" one always is a FloatMatrix.
    """

    embedding: Any  # [V, C] float32, or bits of bfloat16 (uint16) or float16 (int16)
    norm_weight: Any  # [2, C] ln0 and ln_out
    norm_bias: Any  # [2, C]
    block_norm_weight: Any  # [L, 2, C] ln1 and ln2
    block_norm_bias: Any  # [L, 2, C]
    mix: Any  # [L, 6, C] token shift of r, w, k, v, a, g
    receptance: Any  # matrix [C, C]
    key: Any  # matrix [C, C]
    value: Any  # matrix [C, C]
    output: Any  # matrix [C, C]
    decay_base: Any  # [L, C] w0
    decay_down: Any  # low-rank [rank, C] w1
    decay_up: Any  # low-rank [C, rank] w2
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
    channel_key: Any  # matrix [F, C]
    channel_value: Any  # matrix [C, F]
    head: Any  # matrix [V, C], L = 1


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
    """Buffers of one step, [T, …] float32; rows of outputs are padded to 16 and then some."""

    x: Any
    normed: Any
    borders: Any  # [threads, C], for the token before a thread's first
    inputs: Activations  # [7, T, C]
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
    decay_hidden: Any  # [T, rank]
    rate_hidden: Any
    first_hidden: Any
    gate_hidden: Any
    channel_hidden: Activations  # [1, T, F]
    last: Activations  # [1, R, C]
    logits: Any  # [R, V]
