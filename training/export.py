"""Write the trained model as the server reads it: official names, bfloat16, one folder."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from training.evaluate import newest_checkpoint
from training.model import RWKV7
from training.train import load_checkpoint

LARGEST = 16 * 10**6  # bytes: the package carries this folder


def export(work: Path, out: Path) -> RWKV7:
    """Write model.safetensors and tokenizer.json to out; returns the model as read back."""
    state = load_checkpoint(newest_checkpoint(work))
    # As official checkpoints are stored, which also lets the server multiply in bfloat16.
    weights = {name: w.to(torch.bfloat16).contiguous() for name, w in state["model"].items()}
    out.mkdir(parents=True, exist_ok=True)
    metadata = {"generation": "rwkv7", "format": "pt"}
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
