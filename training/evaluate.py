"""How good the model is: bits per byte of held-out text, loss on held-out replies, samples."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional as F

from training.batches import TEXT_SHARES, Source
from training.chat_format import IGNORE, prompt_text
from training.generate import complete
from training.model import RWKV7
from training.train import load_checkpoint

# Each a conversation up to the user's last turn. The last ones are meant to be hard.
SAMPLES = (
    ["Hello"],
    ["Who are you?"],
    ["What can you do?"],
    ["What is the capital of France?"],
    ["What is 2 + 3?"],
    ["What is the opposite of hot?"],
    ["Tell me a story about a fox."],
    ["My name is Anna.", "Nice to meet you, Anna! How can I help you?", "What is my name?"],
    ["What is a rainbow?"],
    ["Name three animals."],
    ["Thanks!"],
    ["Why is the sky blue?"],
    ["Which is heavier, a car or a pencil?"],
    ["What is 17 + 26?"],
    ["Who wrote Romeo and Juliet?"],
)


@dataclass
class Report:
    """The numbers of one evaluation."""

    parameters: int
    tokens_seen: int
    seconds: float
    bits_per_byte: float
    stage_1_bits_per_byte: float  # before the conversations
    template_loss: float  # nats a token, on held-out replies from our templates
    by_source: dict[str, float] = field(default_factory=dict)
    samples: list[list[str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def newest_checkpoint(work: Path) -> Path:
    """The checkpoint of the last stage that has one."""
    for name in ("stage2.pt", "stage1.pt"):
        if (work / name).exists():
            return work / name
    raise FileNotFoundError(f"no checkpoint in {work}: run `python -m training train`")


def from_checkpoint(state: dict[str, Any]) -> RWKV7:
    return RWKV7.from_state_dict(state["model"]).eval()


@torch.no_grad()
def row_losses(
    model: RWKV7, tokens: NDArray[np.uint16], targets: NDArray[np.uint16], length: int = 256
) -> tuple[float, int]:
    """(summed loss in nats, scored tokens) over rows of `length`, each from an empty state."""
    total, count = 0.0, 0
    ids = torch.from_numpy(tokens[: len(tokens) // length * length].astype(np.int64))
    wanted = torch.from_numpy(targets[: len(ids)].astype(np.int64))
    ids, wanted = ids.view(-1, length), wanted.view(-1, length)
    for start in range(0, len(ids), 8):
        x, y = ids[start : start + 8], wanted[start : start + 8]
        logits = model(x).flatten(0, 1).float()  # [8 T, V]
        loss = F.cross_entropy(logits, y.flatten(), ignore_index=IGNORE, reduction="sum")
        total += loss.item()
        count += int((y != IGNORE).sum())
    return total, count


def text_bits(model: RWKV7, work: Path, rows: int) -> tuple[float, dict[str, float]]:
    """Bits per byte of held-out text: over all of it, and of each source alone."""
    nats, size, by_source = 0.0, 0.0, {}
    for name in sorted(TEXT_SHARES):
        path = work / f"held-{name}.npz"
        if not path.exists():
            continue
        source = Source(path)
        tokens = source.tokens[: rows * 256 + 1]
        loss, count = row_losses(model, tokens[:-1], tokens[1:])
        scored = source.bytes * count / len(source.tokens)
        if count:
            by_source[name] = round(loss / math.log(2) / scored, 4)
            nats, size = nats + loss, size + scored
    return nats / math.log(2) / max(1.0, size), by_source


def template_loss(model: RWKV7, work: Path) -> float:
    """The mean loss of held-out replies from templates, in nats a token."""
    path = work / "heldchat-templates.npz"
    if not path.exists():
        return 0.0
    source = Source(path)
    total, count = row_losses(model, source.tokens, source.targets)
    return total / max(1, count)


def evaluate(model: RWKV7, tokenizer: Tokenizer, work: Path, rows: int) -> Report:
    """Measure the model; at most `rows` rows of 256 tokens are read of each source of text."""
    state = load_checkpoint(newest_checkpoint(work))
    first = work / "stage1.pt"
    earlier = load_checkpoint(first) if state["config"]["stage"] == 2 else None
    bits, by_source = text_bits(model, work, rows)
    first_bits = text_bits(from_checkpoint(earlier), work, rows)[0] if earlier else bits
    report = Report(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_seen=state["tokens"] + (earlier["tokens"] if earlier else 0),
        seconds=round(state["seconds"] + (earlier["seconds"] if earlier else 0)),
        bits_per_byte=round(bits, 4),
        stage_1_bits_per_byte=round(first_bits, 4),
        template_loss=round(template_loss(model, work), 4),
        by_source=by_source,
    )
    for turns in SAMPLES:
        report.samples.append([*turns, complete(model, tokenizer, prompt_text(turns)).strip()])
    return report
