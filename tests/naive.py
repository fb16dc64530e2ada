"""Slow and obvious float64 twins of every kernel; those of whole models are in naive_models.py."""

import numpy as np


def layer_norm(x, weight, bias, epsilon):
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (x - mean) / np.sqrt(variance + epsilon) * weight + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def wkv7(state, r, decay, k, v, kk, a):
    """One head, one token. state [N, N] values by keys, as in the paper; returns (state, y)."""
    removed = state @ -kk  # [N]
    state = state * decay[None, :] + np.outer(removed, kk * a) + np.outer(v, k)
    return state, state @ r


def wkv5(state, r, decay, k, v, first):
    """One head, one token of RWKV-5 and 6. state [N, N] keys by values; returns (state, y).

    decay and first are [N], or one value for the whole head.
    """
    now = np.outer(k, v)
    y = r @ (state + np.broadcast_to(first, r.shape)[:, None] * now)
    return state * np.broadcast_to(decay, r.shape)[:, None] + now, y


def wkv4(state, k, v, decay, first):
    """All channels, one token of RWKV-4: the mean of v weighted by exp(k), old tokens less.

    state (sum of weighted v, sum of weights, logarithm that both are relative to), [D] each, from
    (0, 0, -1e30); decay is negative. Returns (state, y).
    """

    def added(now, past):
        largest = np.maximum(past, now)
        old, new = np.exp(past - largest), np.exp(now - largest)
        return old * numerator + new * v, old * denominator + new, largest

    numerator, denominator, past = state
    weighted, weights, _ = added(k + first, past)
    return added(k, past + decay), weighted / weights


def rounded_to_int8(x, scale_dtype):
    """Each 32 values of the last axis (padded with zeros) as whole multiples of their scale."""
    size = x.shape[-1]
    grouped = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -size % 32)]).reshape(*x.shape[:-1], -1, 32)
    scale = (np.abs(grouped).max(-1, keepdims=True) / 127).astype(scale_dtype).astype(np.float64)
    codes = np.rint(np.divide(grouped, scale, out=np.zeros_like(grouped), where=scale > 0))
    return (codes * scale).reshape(*x.shape[:-1], -1)[..., :size]


def filtered(logits, temperature, top_k, top_p):
    """Probabilities [V] after temperature, top-k and top-p; of equals the lowest ids stay."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")
    keep = len(order) if top_k <= 0 else min(top_k, len(order))
    weights[order[keep:]] = 0
    if top_p < 1:
        sums = np.cumsum(weights[order]) / weights.sum()
        keep = int(np.searchsorted(sums, top_p)) + 1
        weights[order[keep:]] = 0
    return weights / weights.sum()


def log_softmax(logits):
    """Log-probabilities [..., V]."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def penalized(logits, counts, presence, frequency, repetition):
    """Logits [V] after the penalties; counts: token → count."""
    result = logits.astype(np.float64)
    for token, count in counts.items():
        result[token] = (
            result[token] / repetition if result[token] > 0 else result[token] * repetition
        )
        result[token] -= presence + frequency * count
    return result
