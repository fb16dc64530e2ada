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


def near(logits, sigmas):
    """Logits [V] without those more than so many standard deviations below the largest."""
    logits = logits.astype(np.float64)
    finite = logits[np.isfinite(logits)]
    return np.where(logits >= finite.max() - sigmas * finite.std(), logits, -np.inf)


def filtered(
    logits, temperature, top_k=0, top_p=1.0, typical_p=1.0, min_p=0.0, xtc=None, mu=np.inf
):
    """Probabilities [V] after all filters, in their order; of equals the lowest ids stay.

    xtc is its threshold where it acts, mu that of mirostat.
    """

    def most(by, share):
        """The first by a key whose probabilities reach a share."""
        order = np.argsort(by, kind="stable")
        return order[: int(np.searchsorted(np.cumsum(p[order]), share)) + 1]

    def only(kept):
        result = np.zeros_like(p)
        result[kept] = p[kept]
        return result / result.sum()

    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    if top_k > 0:
        p = only(np.argsort(-p, kind="stable")[:top_k])
    if typical_p < 1:
        surprise = -np.log(p, where=p > 0, out=np.full(len(p), -np.inf))
        entropy = (p[p > 0] * surprise[p > 0]).sum()
        p = only(most(np.abs(surprise - entropy), typical_p))
    if top_p < 1:
        p = only(most(-p, top_p))
    p = only(p >= min_p * p.max())
    if xtc is not None:
        over = [i for i in np.argsort(-p, kind="stable") if p[i] >= xtc and p[i] > 0]
        p = only([i for i in range(len(p)) if i not in over[:-1]])
    return only(p >= min(2.0**-mu, p.max()))


def biased(logits, biases, allowed=()):
    """Logits [V] with biases added, of the allowed tokens only, if any are named."""
    result = np.full(len(logits), -np.inf) if allowed else logits.astype(np.float64)
    for token in allowed:
        result[token] = logits[token]
    for token, bias in biases.items():
        result[token] += bias
    return result


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


def dry_penalties(tokens, token_bytes, breakers, multiplier, base, allowed_length, last_n):
    """Token → what DRY takes from its logit, straight from its definition."""
    since = 0
    while since < len(tokens) and not _ends_breaker(tokens, since, token_bytes, breakers):
        since += 1
    tokens = tokens[-last_n:] if last_n else []
    longest = {}
    for end in range(len(tokens) - 1):
        length = 0
        while length < min(end + 1, since) and tokens[end - length] == tokens[-1 - length]:
            length += 1
        after = tokens[end + 1]
        if length >= allowed_length and not any(b in token_bytes(after) for b in breakers):
            longest[after] = max(longest.get(after, 0), length)
    return {token: multiplier * base ** (n - allowed_length) for token, n in longest.items()}


def _ends_breaker(tokens, back, token_bytes, breakers):
    """Whether a breaker ends in the token that is so many before the last."""
    until = len(tokens) - back
    before = b"".join(map(token_bytes, tokens[: until - 1]))
    text = before + token_bytes(tokens[until - 1])
    return any(
        text[:end].endswith(b) for b in breakers for end in range(len(before) + 1, len(text) + 1)
    )
