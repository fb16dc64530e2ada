"""Write the trained model as the server reads it: official names, bfloat16, one folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training.model import RWKV7
from training.train import load_checkpoint

LARGEST = 16 * 10**6  # bytes: the package carries this folder


def export(work: Path, out: Path) -> RWKV7:
    """Write model.safetensors and tokenizer.json to out; returns the model as read back."""
    state = load_checkpoint(work / "checkpoint.pt")
    # As official checkpoints are stored, which also lets the server multiply in bfloat16.
    weights = {name: w.to(torch.bfloat16).contiguous() for name, w in state["model"].items()}
    out.mkdir(parents=True, exist_ok=True)
    metadata = {"generation": "rwkv7", "format": "pt", "training": json.dumps(history_of(state))}
    partial = out / "model.partial"
    save_file(weights, partial, metadata)
    partial.chmod(0o644)
    partial.replace(out / "model.safetensors")  # a server may be reading the old one
    shutil.copyfile(work / "tokenizer.json", out / "tokenizer.json")
    size = sum(path.stat().st_size for path in out.iterdir())
    if size > LARGEST:
        raise ValueError(f"{out} has {size:,} bytes, more than {LARGEST:,}")
    return load_exported(out)


def load_exported(folder: Path) -> RWKV7:
    return RWKV7.from_state_dict(load_file(folder / "model.safetensors")).eval()


def read_history(folder: Path) -> dict[str, Any]:
    """What the exported weights have seen: their tokens and seconds; empty if it is not told."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        metadata = file.metadata() or {}
    history: dict[str, Any] = json.loads(metadata.get("training", "{}"))
    return history


def history_of(state: dict[str, Any]) -> dict[str, Any]:
    """The tokens and seconds of a checkpoint's weights, with those of the weights before them."""
    return {key: state[key] + before for key, before in state["before"].items()}
