"""The official RWKV-7 initialisation, learning-rate groups and schedule."""

import torch
from torch import Tensor, nn

from training.model import RWKV7, TimeMixing
from training.wkv7 import HEAD_SIZE


@torch.no_grad()
def initialize(model: RWKV7, seed: int) -> None:
    """Set every parameter to its official starting value (RWKV-LM, RWKV-v7)."""
    torch.manual_seed(seed)
    c, layers = model.config.n_embd, model.config.n_layer
    position = torch.arange(c) / c  # [C], the channel's place in 0 … 1
    model.emb.weight.uniform_(-1e-4, 1e-4)
    nn.init.orthogonal_(model.head.weight, gain=0.5 * max(1.0, model.config.vocab_size / c) ** 0.5)
    for layer, block in enumerate(model.layers):
        depth = 1 - layer / layers
        _initialize_time_mixing(block.att, layer, layers)
        block.ffn.x_k.copy_((1 - position ** (depth**4)).view(1, 1, c))
        block.ffn.key.weight.uniform_(-0.5 / c**0.5, 0.5 / c**0.5)
        block.ffn.value.weight.zero_()


def _initialize_time_mixing(att: TimeMixing, layer: int, layers: int) -> None:
    c = att.x_r.shape[-1]
    index = torch.arange(c)
    depth, progress = 1 - layer / layers, layer / max(1, layers - 1)
    position = index / c
    for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
        getattr(att, f"x_{name}").copy_((1 - position ** (power * depth)).view(1, 1, c))

    ramp = index / (c - 1)
    linear = ramp - 0.5
    half = (HEAD_SIZE - 1) / 2
    zigzag = (index % HEAD_SIZE - half) / half  # runs -1 … 1 within each head
    zigzag = zigzag * zigzag.abs()
    decay = -6 + 6 * ramp ** (1 + progress**0.3)
    att.w0.copy_((decay + 0.5 + zigzag * 2.5).view(1, 1, c))
    att.a0.copy_((-0.19 + zigzag * 0.3 + linear * 0.4).view(1, 1, c))
    if layer > 0:
        att.v0.copy_((0.73 - linear * 0.4).view(1, 1, c))
    for name in ("w2", "a2", "v2", "g2"):
        if hasattr(att, name):
            _scaled_orthogonal(getattr(att, name), 0.1)  # the other halves, w1 …, stay zero
    att.k_k.copy_((0.71 - linear * 0.1).view(1, 1, c))
    att.k_a.fill_(1.02)
    att.r_k.fill_(-0.04)
    for matrix, scale in ((att.receptance, 0.5), (att.key, 0.05), (att.value, 0.5)):
        matrix.weight.uniform_(-scale / c**0.5, scale / c**0.5)
    att.output.weight.zero_()
    att.ln_x.weight.fill_(((1 + layer) / layers) ** 0.7)
    att.ln_x.bias.zero_()


def _scaled_orthogonal(weight: Tensor, scale: float) -> None:
    rows, columns = weight.shape
    nn.init.orthogonal_(weight, gain=scale * max(1.0, rows / columns) ** 0.5)


def make_optimizer(model: RWKV7, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with w0 at twice the rate and decay on the large matrices only."""
    double, decayed, plain = [], [], []
    for name, p in model.named_parameters():
        if name.endswith("att.w0"):
            double.append(p)
        elif name.endswith(".weight") and p.ndim == 2:
            decayed.append(p)
        else:
            plain.append(p)
    groups = [
        {"params": double, "weight_decay": 0.0, "scale": 2.0},
        {"params": decayed, "weight_decay": weight_decay, "scale": 1.0},
        {"params": plain, "weight_decay": 0.0, "scale": 1.0},
    ]
    # foreach, and on a CPU fused, update all tensors in a few calls instead of one call each.
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), eps=1e-18, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


def warm_stable_decay(step: int, warmup_steps: int, left: float) -> float:
    """The share of the highest rate: rising over warmup_steps, steady, and falling to 0 in a line.

    left is the time that remains, as a multiple of the time of the fall. So the fall may be begun
    whenever it is known when the run must end.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps)) * min(1.0, max(0.0, left))
