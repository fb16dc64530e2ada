"""RWKV-7 "Goose" (x070) in PyTorch, with the parameter names of the official checkpoints.

Matrices are stored as the official files store them: `*.weight` is [out, in], the low-rank pairs
(w1, w2 and so on) are [in, rank] and [rank, out].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.matmul import matmul
from training.wkv7 import HEAD_SIZE, wkv7


@dataclass(frozen=True)
class ModelConfig:
    """The sizes that define a model."""

    vocab_size: int = 4096
    n_layer: int = 6
    n_embd: int = 192
    rank_decay: int = 32
    rank_rate: int = 32
    rank_value: int = 16
    rank_gate: int = 64

    @property
    def n_head(self) -> int:
        return self.n_embd // HEAD_SIZE

    @classmethod
    def from_state_dict(cls, weights: dict[str, Tensor]) -> "ModelConfig":
        """Read the sizes off the shapes of a checkpoint."""
        vocab_size, n_embd = weights["emb.weight"].shape
        n_layer = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        ranks = [weights[f"blocks.{n_layer - 1}.att.{x}1"].shape[1] for x in "wavg"]
        return cls(vocab_size, n_layer, n_embd, *ranks)


class Module(nn.Module):
    """A module whose large products run in `compute`, float32 or bfloat16."""

    compute = torch.float32

    def product(self, x: Tensor, weight: Tensor, out: torch.dtype = torch.float32) -> Tensor:
        return matmul(x, weight, self.compute, out if self.compute != torch.float32 else x.dtype)


def _zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


class TimeMixing(Module):
    """Attention's stand-in: token shift, data-dependent decay and the WKV-7 recurrence."""

    # token shift, each [1, 1, C]
    x_r: nn.Parameter
    x_w: nn.Parameter
    x_k: nn.Parameter
    x_v: nn.Parameter
    x_a: nn.Parameter
    x_g: nn.Parameter
    # decay, in-context learning rate, value residual, gate: bias [1, 1, C], [C, rank], [rank, C]
    w0: nn.Parameter
    w1: nn.Parameter
    w2: nn.Parameter
    a0: nn.Parameter
    a1: nn.Parameter
    a2: nn.Parameter
    v0: nn.Parameter
    v1: nn.Parameter
    v2: nn.Parameter
    g1: nn.Parameter
    g2: nn.Parameter

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        c, self.layer, self.n_head = config.n_embd, layer, config.n_head
        for name in "rwkvag":
            self.register_parameter(f"x_{name}", _zeros(1, 1, c))
        ranks = {"w": config.rank_decay, "a": config.rank_rate, "g": config.rank_gate}
        if layer > 0:  # layer 0 defines v_first, so it has nothing to mix it with
            ranks["v"] = config.rank_value
        for name, rank in ranks.items():
            self.register_parameter(f"{name}1", _zeros(c, rank))
            self.register_parameter(f"{name}2", _zeros(rank, c))
            if name != "g":
                self.register_parameter(f"{name}0", _zeros(1, 1, c))
        self.k_k, self.k_a = _zeros(1, 1, c), _zeros(1, 1, c)
        self.r_k = _zeros(self.n_head, HEAD_SIZE)
        self.receptance = nn.Linear(c, c, bias=False)
        self.key = nn.Linear(c, c, bias=False)
        self.value = nn.Linear(c, c, bias=False)
        self.output = nn.Linear(c, c, bias=False)
        self.ln_x = nn.GroupNorm(self.n_head, c, eps=64e-5)

    def forward(self, x: Tensor, v_first: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, length, c = x.shape  # [B, T, C]
        heads = (batch, length, self.n_head, HEAD_SIZE)
        shift = F.pad(x, (0, 0, 1, -1)) - x
        xr, xw, xk, xv, xa, xg = (
            torch.addcmul(x, shift, mix)
            for mix in (self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g)
        )
        r = self.product(xr, self.receptance.weight.t())  # [B, T, C]
        k = self.product(xk, self.key.weight.t())
        v = self.product(xv, self.value.weight.t())
        decay = self.w0 + self.low_rank(xw, "w", torch.tanh)
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid(decay))  # [B, T, C], each in (0.545, 1)
        if v_first is None:
            v_first = v
        else:
            v = torch.lerp(v, v_first, torch.sigmoid(self.v0 + self.low_rank(xv, "v")))
        a = torch.sigmoid(self.a0 + self.low_rank(xa, "a"))
        gate = self.low_rank(xg, "g", torch.sigmoid)
        kk = F.normalize((k * self.k_k).view(heads), dim=-1, eps=1e-12)
        k = k * (1 + (a - 1) * self.k_a)
        r, w, k, v, a = (z.view(heads) for z in (r, w, k, v, a))
        y = wkv7(r, w, k, v, -kk, kk * a)  # [B, T, H, N]
        y = self.ln_x(y.reshape(batch * length, c)).view(heads)
        y = y + (r * k * self.r_k).sum(-1, keepdim=True) * v
        y = y.reshape(batch, length, c) * gate
        return self.product(y, self.output.weight.t()), v_first

    def low_rank(
        self, x: Tensor, name: str, between: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """x through the pair {name}1, {name}2 with an activation in between: [B, T, C]."""
        x = self.product(x, getattr(self, f"{name}1"))
        return self.product(between(x) if between else x, getattr(self, f"{name}2"))


class ChannelMixing(Module):
    """The feed-forward half: squared ReLU over a token-shifted input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.x_k = _zeros(1, 1, config.n_embd)
        self.key = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.value = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shift = F.pad(x, (0, 0, 1, -1)) - x  # [B, T, C]
        x = torch.addcmul(x, shift, self.x_k)
        hidden = self.product(x, self.key.weight.t(), out=self.compute)  # [B, T, 4C]
        return self.product(torch.relu(hidden).square(), self.value.weight.t())


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(config.n_embd)
        self.ln1, self.ln2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.att, self.ffn = TimeMixing(config, layer), ChannelMixing(config)

    def forward(self, x: Tensor, v_first: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, v_first = self.att(self.ln1(x), v_first)
        x = x + mixed
        return x + self.ffn(self.ln2(x)), v_first


class RWKV7(Module):
    """Token ids [B, T] to logits [B, T, V], each row from an empty state."""

    def __init__(self, config: ModelConfig, compute: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_out = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, Module):
                module.compute = compute

    @property
    def layers(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def features(self, ids: Tensor) -> Tensor:
        """The last hidden layer, normalised: [B, T, C]."""
        x = self.layers[0].ln0(self.emb(ids))
        v_first = None
        for block in self.layers:
            x, v_first = block(x, v_first)
        features: Tensor = self.ln_out(x)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """The head alone: [..., C] to [..., V]."""
        return self.product(features, self.head.weight.t())

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.features(ids))

    @classmethod
    def from_state_dict(cls, weights: dict[str, Tensor]) -> "RWKV7":
        """A float32 model from official names; layer 0's unused v0, v1, v2 are ignored."""
        unused = {f"blocks.0.att.v{i}" for i in range(3)}
        model = cls(ModelConfig.from_state_dict(weights))
        shapes = {name: p.shape for name, p in model.named_parameters()}
        model.load_state_dict(
            {n: w.float().reshape(shapes[n]) for n, w in weights.items() if n not in unused}
        )
        return model
