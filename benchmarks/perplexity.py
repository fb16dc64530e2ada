"""What the weight type costs in accuracy: bits per byte of a text, for each type.

    python -m benchmarks.perplexity TEXT [MODEL]

TEXT is a UTF-8 file; MODEL a file or folder, by default the embedded model. The last line is one
JSON object; the ratios are to float32.
"""

import argparse
import json
import math
from pathlib import Path
from typing import get_args

import numpy as np

from server.checkpoints.locate import choose_tokenizer, locate
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.machine.cores import usable_cores
from server.model.config import read_config
from server.model.loading import WeightType, load_weights
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.tokenizer.load import load_tokenizer

CHUNK = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--tokens", type=int, default=20_000, help="read no more than these")
    arguments = parser.parse_args()
    files = locate(arguments.model)
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    tokenizer = load_tokenizer(choose_tokenizer(files, config.vocab_size), config.vocab_size)
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8"))[: arguments.tokens]
    size = sum(len(tokenizer.token_bytes(token)) for token in ids)
    result: dict[str, object] = {"benchmark": "perplexity", "tokens": len(ids), "bytes": size}
    exact = 0.0
    for dtype in get_args(WeightType):
        team = Team(usable_cores())
        weights = load_weights(checkpoint, config, dtype, team, None, lambda *_: None)
        model = Model(config, weights, team, CHUNK, CHUNK)
        model.compile()
        bits = _nats(model, [tokenizer.eos_id, *ids]) / math.log(2) / size
        exact = exact or bits
        result |= {f"{dtype}_bits_per_byte": round(bits, 5), f"{dtype}_ratio": bits / exact}
    print(json.dumps(result))


def _nats(model: Model, ids: list[int]) -> float:
    """Σ −ln p of all ids but the first, read as one sequence."""
    state = StatePool(model.config, 1).state
    total = 0.0
    for start in range(0, len(ids) - 1, CHUNK):
        chunk = ids[start : start + CHUNK][: len(ids) - 1 - start]
        count = len(chunk)
        batch = pack_batch([(chunk, 0, True)])._replace(logit_rows=np.arange(count))
        logits = model.forward(batch, state)[:, : model.config.vocab_size].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        targets = np.array(ids[start + 1 : start + 1 + count])
        chosen = logits[np.arange(count), targets]
        total += float((np.log(np.exp(logits).sum(axis=1)) - chosen).sum())
    return total


if __name__ == "__main__":
    main()
