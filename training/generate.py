"""Text from a model in training, many prompts at once, one token of each a step.

The server has the fast way; this one needs only the weights, so that a checkpoint can be measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from training.model import RWKV7, Block, TimeMixing
from training.tokenizer import END_ID
from training.wkv7 import HEAD_SIZE

STOP = "\n\nUser:"
AT_ONCE = 128  # prompts


@dataclass
class State:
    """What a model remembers of B texts: per layer two rows [B, C] and a matrix a head."""

    att: list[Tensor]
    ffn: list[Tensor]
    wkv: list[Tensor]  # each [B, H, N, N]

    @classmethod
    def empty(cls, model: RWKV7, batch: int) -> "State":
        c, h = model.config.n_embd, model.config.n_head
        layers = range(model.config.n_layer)
        return cls(
            [torch.zeros(batch, c) for _ in layers],
            [torch.zeros(batch, c) for _ in layers],
            [torch.zeros(batch, h, HEAD_SIZE, HEAD_SIZE) for _ in layers],
        )


def step(model: RWKV7, ids: Tensor, state: State) -> Tensor:
    """Read one token of each text, ids [B], into the state; returns the features [B, C]."""
    x = model.layers[0].ln0(model.emb(ids))
    v_first = None
    for i, block in enumerate(model.layers):
        x, v_first = _block_step(block, i, x, v_first, state)
    features: Tensor = model.ln_out(x)
    return features


def _block_step(
    block: Block, i: int, x: Tensor, v_first: Tensor | None, state: State
) -> tuple[Tensor, Tensor]:
    normed = block.ln1(x)
    mixed, v_first = _time_mixing_step(block.att, normed, state.att[i], v_first, state.wkv[i])
    state.att[i] = normed
    x = x + mixed
    normed = block.ln2(x)
    key = torch.addcmul(normed, state.ffn[i] - normed, block.ffn.x_k[0])
    state.ffn[i] = normed
    return x + torch.relu(block.ffn.key(key)).square() @ block.ffn.value.weight.t(), v_first


def _time_mixing_step(
    att: TimeMixing, x: Tensor, before: Tensor, v_first: Tensor | None, wkv: Tensor
) -> tuple[Tensor, Tensor]:
    """TimeMixing.forward for one token; wkv [B, H, N, N] is changed in place."""
    shift = before - x
    xr, xw, xk, xv, xa, xg = (
        torch.addcmul(x, shift, mix[0])
        for mix in (att.x_r, att.x_w, att.x_k, att.x_v, att.x_a, att.x_g)
    )
    r, k, v = att.receptance(xr), att.key(xk), att.value(xv)
    w = torch.exp(-math.exp(-0.5) * torch.sigmoid(att.w0[0] + att.low_rank(xw, "w", torch.tanh)))
    if v_first is None:
        v_first = v
    else:
        v = torch.lerp(v, v_first, torch.sigmoid(att.v0[0] + att.low_rank(xv, "v")))
    a = torch.sigmoid(att.a0[0] + att.low_rank(xa, "a"))
    gate = att.low_rank(xg, "g", torch.sigmoid)
    heads = (len(x), att.n_head, HEAD_SIZE)
    kk = F.normalize((k * att.k_k[0]).view(heads), dim=-1, eps=1e-12)
    k = k * (1 + (a - 1) * att.k_a[0])
    r, w, k, v, a = (z.view(heads) for z in (r, w, k, v, a))
    sa = wkv @ -kk[..., None]  # [B, H, N, 1]
    wkv.mul_(w[..., None, :]).add_(sa @ (kk * a)[..., None, :]).add_(v[..., None] * k[..., None, :])
    y = (wkv @ r[..., None])[..., 0]  # [B, H, N]
    y = att.ln_x(y.reshape(len(x), -1)).view(heads) + (r * k * att.r_k).sum(-1, keepdim=True) * v
    return att.output(y.reshape(len(x), -1) * gate), v_first


@dataclass(frozen=True)
class Reply:
    """What a model says, and whether it came to an end by itself."""

    text: str
    tokens: int
    ended: bool


def complete(
    model: RWKV7,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    limit: int = 100,
    temperature: float = 0.0,
    seed: int = 1,
) -> list[Reply]:
    """What the model says after each prompt: up to `limit` tokens, the end of document or STOP."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    replies: dict[int, Reply] = {}
    random = torch.Generator().manual_seed(seed)
    for start in range(0, len(order), AT_ONCE):
        chosen = order[start : start + AT_ONCE]
        said = _complete([ids[i] for i in chosen], model, tokenizer, limit, temperature, random)
        replies |= dict(zip(chosen, said, strict=True))
    return [replies[i] for i in range(len(ids))]


@torch.no_grad()
def _complete(
    prompts: list[list[int]],
    model: RWKV7,
    tokenizer: Tokenizer,
    limit: int,
    temperature: float,
    random: torch.Generator,
) -> list[Reply]:
    """Every text reads or writes one token a step, whatever its length."""
    texts = [list(prompt) for prompt in prompts]
    state = State.empty(model, len(prompts))
    done = [False] * len(prompts)
    position = 0
    while not all(done):
        now = torch.tensor([t[min(position, len(t) - 1)] for t in texts])
        logits = model.logits(step(model, now, state))
        position += 1
        for i, token in enumerate(_choose(logits, temperature, random)):
            if done[i] or position < len(texts[i]):
                continue
            texts[i].append(token)
            said = texts[i][len(prompts[i]) :]
            done[i] = token == END_ID or len(said) >= limit or STOP in tokenizer.decode(said[-8:])
    return [_reply(tokenizer, t[len(p) :]) for t, p in zip(texts, prompts, strict=True)]


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> list[int]:
    if temperature == 0:
        return [int(i) for i in logits.argmax(-1)]
    shares = torch.softmax(logits / temperature, -1)
    return [int(i) for i in torch.multinomial(shares, 1, generator=random)[:, 0]]


def _reply(tokenizer: Tokenizer, ids: list[int]) -> Reply:
    text: str = tokenizer.decode(ids)
    return Reply(text.split(STOP)[0].strip(), len(ids), ids[-1] == END_ID or STOP in text)
