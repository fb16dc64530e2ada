"""Slow and obvious float64 twins of whole models, one class for each generation.

Checked against the `rwkv` package by benchmarks/peers/twins.py.
"""

import numpy as np

from tests.naive import layer_norm, rounded_to_int8, sigmoid, wkv4, wkv5, wkv7


def twin(tensors, rounded=None):
    """The twin of the generation that the tensors belong to."""
    first = "blocks.0.att."
    if first + "r_k" in tensors:
        return Rwkv7(tensors, rounded)
    if first + "time_maa_x" in tensors:
        return Rwkv6(tensors, rounded)
    if first + "ln_x.weight" in tensors:
        return Rwkv5(tensors, rounded)
    return Rwkv4(tensors, rounded)


class Rwkv:
    """One sequence, token by token. tensors: BlinkDL name → array.

    rounded(name, matrix) is what becomes of a large matrix; what it multiplies is then rounded to 8
    bits.
    """

    shares = "time_mix_"  # how the shares of the token shifts are called
    group_epsilon = 64e-5  # rwkv.cpp computes RWKV-5 with 1e-5, so its expected logits need that

    def __init__(self, tensors, rounded=None):
        self.rounded = rounded
        self.w = {
            name: t.astype(np.float64).reshape(-1 if t.shape[:-1] == (1, 1) else t.shape)
            for name, t in tensors.items()
        }
        self.layers = 1 + max(int(n.split(".")[1]) for n in self.w if n.startswith("blocks."))
        dim = self.w["emb.weight"].shape[1]
        self.time_shift = np.zeros((self.layers, dim))
        self.channel_shift = np.zeros((self.layers, dim))
        self.start(dim)

    def start(self, dim):
        """Make the state of the heads, all zeros."""
        self.heads, self.head_size = self.head_shape(dim)
        self.state = np.zeros((self.layers, self.heads, self.head_size, self.head_size))

    def product(self, name, x):
        if self.rounded is None:
            return self.w[name] @ x
        return self.rounded(name, self.w[name]) @ rounded_to_int8(x, np.float32)

    def norm(self, name, x):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"], 1e-5)

    def read(self, tokens):
        """Logits [V] after the last of the tokens."""
        return self.product("head.weight", self.hidden_states(tokens)[-1])

    def hidden_states(self, tokens):
        """What the head reads, [C] after each of the tokens."""
        return [self._token(token) for token in tokens]

    def _token(self, token):
        self.token = token
        x = self.norm("blocks.0.ln0", self.w["emb.weight"][token])
        for i in range(self.layers):
            x = x + self.time_mixing(i, self.norm(f"blocks.{i}.ln1", x))
            x = x + self.channel_mixing(i, self.norm(f"blocks.{i}.ln2", x))
        return self.norm("ln_out", x)

    def shifted(self, previous, x, share):
        """share is that of the current token."""
        return x * share + previous * (1 - share)

    def channel_mixing(self, i, x):
        b, share = f"blocks.{i}.ffn.", f"blocks.{i}.ffn.{self.shares}"
        xk = self.shifted(self.channel_shift[i], x, self.w[share + "k"])
        xr = self.shifted(self.channel_shift[i], x, self.w[share + "r"])
        self.channel_shift[i] = x
        hidden = np.maximum(self.product(b + "key.weight", xk), 0) ** 2
        gate = sigmoid(self.product(b + "receptance.weight", xr))
        return gate * self.product(b + "value.weight", hidden)

    def attention(self, i):
        """The tensors of a layer's time mixing by their short names."""
        b = f"blocks.{i}.att."
        return {name.removeprefix(b): t for name, t in self.w.items() if name.startswith(b)}

    def head_channels(self):
        """(head, its channels) of each head."""
        for head in range(self.heads):
            yield head, slice(head * self.head_size, (head + 1) * self.head_size)


class Rwkv4(Rwkv):
    def start(self, dim):
        zeros = np.zeros(dim)
        self.state = [(zeros, zeros, np.full(dim, -1e30)) for _ in range(self.layers)]

    def time_mixing(self, i, x):
        b, p = f"blocks.{i}.att.", self.attention(i)
        xk, xv, xr = (self.shifted(self.time_shift[i], x, p["time_mix_" + n]) for n in "kvr")
        self.time_shift[i] = x
        r = sigmoid(self.product(b + "receptance.weight", xr))
        k, v = self.product(b + "key.weight", xk), self.product(b + "value.weight", xv)
        decay = -np.exp(p["time_decay"])
        self.state[i], y = wkv4(self.state[i], k, v, decay, p["time_first"])
        return self.product(b + "output.weight", r * y)


class Rwkv5(Rwkv):
    """5.0 has no gate; 5.0 and 5.1 have one decay and one bonus a head, 5.2 one a channel."""

    def head_shape(self, dim):
        heads = self.w["blocks.0.att.time_decay"].shape[0]
        return heads, dim // heads

    def time_mixing(self, i, x):
        p = self.attention(i)
        inputs = {
            name: self.shifted(self.time_shift[i], x, p["time_mix_" + name])
            for name in "rkvg"
            if "time_mix_" + name in p
        }
        self.time_shift[i] = x
        decay = np.exp(-np.exp(p["time_decay"].reshape(self.heads, -1)))
        first = p["time_faaaa"] if "time_faaaa" in p else np.exp(p["time_first"])
        return self.mixed(i, inputs, decay, first.reshape(self.heads, -1))

    def mixed(self, i, inputs, decay, first):
        """The output for inputs by their letter; decay and first [H, N] or [H, 1]."""
        b, p = f"blocks.{i}.att.", self.attention(i)
        r = self.product(b + "receptance.weight", inputs["r"])
        k = self.product(b + "key.weight", inputs["k"])
        v = self.product(b + "value.weight", inputs["v"])
        y = np.zeros_like(r)
        for h, c in self.head_channels():
            self.state[i, h], out = wkv5(self.state[i, h], r[c], decay[h], k[c], v[c], first[h])
            y[c] = layer_norm(out, p["ln_x.weight"][c], p["ln_x.bias"][c], self.group_epsilon)
        if "g" in inputs:
            g = self.product(b + "gate.weight", inputs["g"])
            y = y * g * sigmoid(g)
        return self.product(b + "output.weight", y)


class Rwkv6(Rwkv5):
    shares = "time_maa_"

    def head_shape(self, dim):  # noqa: ARG002
        return self.w["blocks.0.att.time_faaaa"].shape

    def shifted(self, previous, x, share):
        """share is that of the previous token."""
        return x + (previous - x) * share

    def time_mixing(self, i, x):
        p, previous = self.attention(i), self.time_shift[i].copy()
        self.time_shift[i] = x
        hidden = np.tanh(self.shifted(previous, x, p["time_maa_x"]) @ p["time_maa_w1"])
        inputs = {}
        for name, part, up in zip("wkvrg", np.split(hidden, 5), p["time_maa_w2"], strict=True):
            inputs[name] = self.shifted(previous, x, p["time_maa_" + name] + part @ up)
        decay = p["time_decay"] + np.tanh(inputs["w"] @ p["time_decay_w1"]) @ p["time_decay_w2"]
        decay = np.exp(-np.exp(decay)).reshape(self.heads, -1)
        return self.mixed(i, inputs, decay, p["time_faaaa"])


class Rwkv7(Rwkv):
    """Of RWKV-7a, too, whose layers also have a table."""

    def start(self, dim):
        super().start(dim)
        self.group_epsilon = self.head_size * 1e-5

    def head_shape(self, dim):  # noqa: ARG002
        return self.w["blocks.0.att.r_k"].shape

    def shifted(self, previous, x, share):
        """share is that of the previous token."""
        return x + (previous - x) * share

    def channel_mixing(self, i, x):
        b = f"blocks.{i}.ffn."
        xk = self.shifted(self.channel_shift[i], x, self.w[b + "x_k"])
        self.channel_shift[i] = x
        hidden = np.maximum(self.product(b + "key.weight", xk), 0) ** 2
        if b + "s0" in self.w:
            hidden = hidden * self.deep_scale(b, x)
        return self.product(b + "value.weight", hidden)

    def deep_scale(self, b, x):
        """[F] what the token's entry of the layer's table makes of the input."""
        w = self.w
        embedded = self.norm("blocks.0.ln0", w["emb.weight"][self.token])
        entry = w[b + "s_emb.weight"][self.token] + w[b + "s_emb_x.weight"] @ embedded
        return w[b + "s0"] + x @ w[b + "s1"] @ entry.reshape(32, 32) @ w[b + "s2"]

    def time_mixing(self, i, x):
        b, p = f"blocks.{i}.att.", self.attention(i)
        xr, xw, xk, xv, xa, xg = (
            self.shifted(self.time_shift[i], x, p[f"x_{name}"]) for name in "rwkvag"
        )
        self.time_shift[i] = x
        r, k, v = (
            self.product(b + "receptance.weight", xr),
            self.product(b + "key.weight", xk),
            self.product(b + "value.weight", xv),
        )
        decay = np.exp(-np.exp(-0.5) * sigmoid(p["w0"] + np.tanh(xw @ p["w1"]) @ p["w2"]))
        a = sigmoid(p["a0"] + xa @ p["a1"] @ p["a2"])
        g = sigmoid(xg @ p["g1"]) @ p["g2"]
        if i == 0:
            self.v_first = v
        else:
            v = v + (self.v_first - v) * sigmoid(p["v0"] + xv @ p["v1"] @ p["v2"])
        kk = (k * p["k_k"]).reshape(self.heads, -1)
        kk = kk / np.maximum(np.linalg.norm(kk, axis=1, keepdims=True), 1e-12)
        k = k * (1 + (a - 1) * p["k_a"])
        y = np.zeros_like(x)
        for h, c in self.head_channels():
            self.state[i, h], out = wkv7(self.state[i, h], r[c], decay[c], k[c], v[c], kk[h], a[c])
            out = layer_norm(out, p["ln_x.weight"][c], p["ln_x.bias"][c], self.group_epsilon)
            y[c] = out + (r[c] * k[c] * p["r_k"][h]).sum() * v[c]
        return self.product(b + "output.weight", y * g)
