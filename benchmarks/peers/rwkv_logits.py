"""What the `rwkv` package makes of tokens. A script for a Python that has it, and PyTorch.

    RWKV_V7_ON=0 python rwkv_logits.py MODEL.safetensors … --tokens 3 1 4 1 5

RWKV_V7_ON is 1 for RWKV-7 and 0 for all before it. The last line is one JSON object: stem of the
file → `at_once` and `one_by_one`, the logits after the last token, read in these two ways. A .pth
is written beside each file.
"""

import argparse
import json
from pathlib import Path

import torch
from rwkv.model import RWKV
from safetensors.torch import load_file


def main() -> None:
    """Read the command line, compute, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logits = {path.stem: _logits(path, arguments.tokens) for path in arguments.models}
    print(json.dumps(logits))


def _logits(path: Path, tokens: list[int]) -> dict[str, list[float]]:
    torch.save(load_file(path), path.with_suffix(".pth"))
    model = RWKV(model=str(path.with_suffix("")), strategy="cpu fp32")
    at_once, _ = model.forward(tokens, None)
    state = None
    for token in tokens:
        one_by_one, state = model.forward([token], state)
    return {"at_once": at_once.tolist(), "one_by_one": one_by_one.tolist()}


if __name__ == "__main__":
    main()
