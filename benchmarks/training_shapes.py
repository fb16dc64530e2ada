"""Shapes of the embedded model, or batches, from nothing for the same minutes each.

    python -m benchmarks.training_shapes WORK_DIR [--minutes 4] [LAYERS x WIDTH x ROWS …]

WORK_DIR is that of `python -m training prepare`. Prints one JSON line: for each, parameters, tokens
a second, and bits per byte of held-out replies and of held-out dialogue. The rate falls in the last
third of the minutes, as in a whole run.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

from training.batches import Source
from training.evaluate import DIALOGUE, text_bits
from training.memory import keep_freed_memory
from training.model import ModelConfig
from training.tokenizer import load_tokenizer
from training.train import TrainConfig, Trainer, token_losses

SHAPES = ("6x192x4", "6x192x2", "6x192x8", "12x128x4", "4x256x4", "3x320x4")
CONVERSATIONS = 400


@torch.no_grad()
def reply_bits(trainer: Trainer, work: Path) -> float:
    """Bits per byte of the replies of held-out conversations, each from an empty state."""
    tokenizer = load_tokenizer(work / "tokenizer.json")
    source = Source(work / "heldchat-templates.npz")
    nats, size = 0.0, 0
    for i in range(min(CONVERSATIONS, len(source.starts) - 1)):
        span = slice(source.starts[i], source.starts[i + 1])
        ids = torch.from_numpy(source.tokens[span].astype(np.int64))[None]
        targets = torch.from_numpy(source.targets[span].astype(np.int64))[None]
        losses, learnt = token_losses(trainer.model, ids, targets)
        nats += float(losses.sum())
        size += len(tokenizer.decode(targets[learnt].tolist()).encode())
    return nats / math.log(2) / size


@torch.no_grad()
def dialogue_bits(trainer: Trainer, work: Path, rows: int = 40) -> float:
    tokenizer = load_tokenizer(work / "tokenizer.json")
    bits, size = 0.0, 0
    for name in DIALOGUE:
        tokens = Source(work / f"held-{name}.npz").tokens[: rows * 256 + 2]
        scored = tokens[1 : (len(tokens) - 2) // 256 * 256 + 1]
        if len(scored):
            bits += text_bits(trainer.model, work, tokens)
            size += len(tokenizer.decode(scored.tolist()).encode())
    return bits / size


def train(shape: str, minutes: float, work: Path) -> dict[str, float]:
    layers, width, rows = map(int, shape.split("x"))
    config = TrainConfig(minutes, 1.5e-3, minutes / 3, rows=rows, compile=True)
    trainer = Trainer(config, ModelConfig(n_layer=layers, n_embd=width), work)
    trainer.train_step()  # compiles, which is no matter of the shape
    trainer.seconds = 0.0
    while trainer.seconds < 60 * minutes:
        trainer.timed_step()
    return {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "tokens_a_second": round(trainer.tokens / trainer.seconds),
        "replies": round(reply_bits(trainer, work), 3),
        "dialogue": round(dialogue_bits(trainer, work), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="LAYERSxWIDTHxROWS")
    parser.add_argument("--minutes", type=float, default=4.0)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    minutes, work = arguments.minutes, arguments.work_dir
    found = {shape: train(shape, minutes, work) for shape in arguments.shapes}
    print(json.dumps({"minutes": minutes, "shapes": found}))


if __name__ == "__main__":
    main()
