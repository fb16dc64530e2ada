"""Slow and obvious float64 twins of every kernel, and of RWKV-7 as a whole."""

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


def rounded_to_int8(x, scale_dtype):
    """Each 32 values of the last axis (padded with zeros) as whole multiples of their scale."""
    size = x.shape[-1]
    grouped = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -size % 32)]).reshape(*x.shape[:-1], -1, 32)
    scale = (np.abs(grouped).max(-1, keepdims=True) / 127).astype(scale_dtype).astype(np.float64)
    codes = np.rint(np.divide(grouped, scale, out=np.zeros_like(grouped), where=scale > 0))
    return (codes * scale).reshape(*x.shape[:-1], -1)[..., :size]


class Rwkv7:
    """One sequence of RWKV-7, token by token. tensors: BlinkDL name → array.

    rounded(name, matrix) is what becomes of a large matrix; what it multiplies is then rounded to 8
    bits.
    """

    def __init__(self, tensors, rounded=None):
        self.rounded = rounded
        self.w = {name: np.asarray(t, dtype=np.float64).squeeze() for name, t in tensors.items()}
        self.w = {  # squeeze() must not touch matrices that happen to have one row or column
            name: t.reshape(tensors[name].shape) if t.ndim < 2 <= _rank(tensors[name]) else t
            for name, t in self.w.items()
        }
        self.layers = 1 + max(int(n.split(".")[1]) for n in self.w if n.startswith("blocks."))
        self.heads, self.head_size = self.w["blocks.0.att.r_k"].shape
        dim = self.heads * self.head_size
        self.time_shift = np.zeros((self.layers, dim))
        self.channel_shift = np.zeros((self.layers, dim))
        self.state = np.zeros((self.layers, self.heads, self.head_size, self.head_size))

    def product(self, name, x):
        if self.rounded is None:
            return self.w[name] @ x
        return self.rounded(name, self.w[name]) @ rounded_to_int8(x, np.float32)

    def read(self, tokens):
        """Logits [V] after the last of the tokens."""
        for token in tokens:
            logits = self._token(token)
        return logits

    def _token(self, token):
        w = self.w
        x = w["emb.weight"][token]
        x = layer_norm(x, w["blocks.0.ln0.weight"], w["blocks.0.ln0.bias"], 1e-5)
        v_first = None
        for i in range(self.layers):
            b = f"blocks.{i}."
            xn = layer_norm(x, w[b + "ln1.weight"], w[b + "ln1.bias"], 1e-5)
            out, v_first = self._time_mixing(i, xn, v_first)
            x = x + out
            xn = layer_norm(x, w[b + "ln2.weight"], w[b + "ln2.bias"], 1e-5)
            xk = xn + (self.channel_shift[i] - xn) * w[b + "ffn.x_k"]
            self.channel_shift[i] = xn
            hidden = np.maximum(self.product(b + "ffn.key.weight", xk), 0) ** 2
            x = x + self.product(b + "ffn.value.weight", hidden)
        x = layer_norm(x, w["ln_out.weight"], w["ln_out.bias"], 1e-5)
        return self.product("head.weight", x)

    def _time_mixing(self, i, x, v_first):
        b = f"blocks.{i}.att."
        p = {n.removeprefix(b): t for n, t in self.w.items() if n.startswith(b)}
        delta = self.time_shift[i] - x
        self.time_shift[i] = x
        xr, xw, xk, xv, xa, xg = (x + delta * p[f"x_{name}"] for name in "rwkvag")
        r, k, v = (
            self.product(b + "receptance.weight", xr),
            self.product(b + "key.weight", xk),
            self.product(b + "value.weight", xv),
        )
        decay = np.exp(-np.exp(-0.5) * sigmoid(p["w0"] + np.tanh(xw @ p["w1"]) @ p["w2"]))
        a = sigmoid(p["a0"] + xa @ p["a1"] @ p["a2"])
        g = sigmoid(xg @ p["g1"]) @ p["g2"]
        if i == 0:
            v_first = v
        else:
            v = v + (v_first - v) * sigmoid(p["v0"] + xv @ p["v1"] @ p["v2"])
        kk = (k * p["k_k"]).reshape(self.heads, -1)
        kk = kk / np.maximum(np.linalg.norm(kk, axis=1, keepdims=True), 1e-12)
        k = k * (1 + (a - 1) * p["k_a"])
        y = np.zeros_like(x)
        for h in range(self.heads):
            c = slice(h * self.head_size, (h + 1) * self.head_size)
            self.state[i, h], out = wkv7(self.state[i, h], r[c], decay[c], k[c], v[c], kk[h], a[c])
            out = layer_norm(out, p["ln_x.weight"][c], p["ln_x.bias"][c], 64e-5)
            y[c] = out + (r[c] * k[c] * p["r_k"][h]).sum() * v[c]
        return self.product(b + "output.weight", y * g), v_first


def _rank(tensor):
    return sum(n > 1 for n in tensor.shape) if tensor.ndim == 3 else tensor.ndim


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


def penalized(logits, counts, presence, frequency, repetition):
    """Logits [V] after the penalties; counts: token → count."""
    result = logits.astype(np.float64)
    for token, count in counts.items():
        result[token] = (
            result[token] / repetition if result[token] > 0 else result[token] * repetition
        )
        result[token] -= presence + frequency * count
    return result
