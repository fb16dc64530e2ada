"""A reranker (EmbeddingRWKV): RWKV-7 that reads one token, from the states of an embedding model.

The forward pass is that of rwkv7; model/heads.py says how the token's hidden state makes a score.
"""

from typing import Any, NamedTuple

from server.model.rwkv7 import allocate, step

__all__ = ["Weights", "allocate", "step"]


class Weights(NamedTuple):
    """All weights: those of rwkv7.Weights, with a head of no rows, and three more."""

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
    score_hidden: Any  # FloatMatrix [1, C, C] head.0.weight
    score_bias: Any  # [1, C] head.0.bias
    score_weight: Any  # [1, C] head.2.weight
