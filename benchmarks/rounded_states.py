"""What float16 states on disk cost in accuracy.

    python -m benchmarks.rounded_states TEXT [MODEL] [--dtype DTYPE]

TEXT is a UTF-8 file; MODEL a file or folder, by default the embedded model. At several places of
the text the state is rounded, and the next tokens are read after it and after the exact one. The
last line is one JSON object.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.locate import choose_tokenizer, locate
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.machine.cores import usable_cores
from server.model.config import read_config
from server.model.initial_state import StateArrays, empty_state
from server.model.loading import choose_dtype, load_weights
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.tokenizer.load import load_tokenizer

CHUNK, PLACES, AFTER = 256, 8, 64

Probabilities = npt.NDArray[np.float64]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    files = locate(arguments.model)
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    tokenizer = load_tokenizer(choose_tokenizer(files, config.vocab_size), config.vocab_size)
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8"))[: PLACES * CHUNK + AFTER]
    team, dtype = Team(usable_cores()), choose_dtype(arguments.dtype, config)
    weights = load_weights(checkpoint, config, dtype, team, None, lambda *_: None)
    model = Model(config, weights, team, CHUNK, CHUNK)
    model.compile()
    state, rounding, differences, divergences, same = empty_state(config), [], [], [], []
    for start in range(0, len(ids) - CHUNK - AFTER + 1, CHUNK):
        _, state = _read(model, ids[start : start + CHUNK], state)
        rounded = {
            name: array.astype(np.float16).astype(np.float32) for name, array in state.items()
        }
        rounding.append(max(float(abs(rounded[name] - state[name]).max()) for name in state))
        following = ids[start + CHUNK : start + CHUNK + AFTER]
        exact, near = (_read(model, following, each)[0] for each in (state, rounded))
        differences.append(float(abs(exact - near).max()))
        divergences.append(float((exact * np.log((exact + 1e-30) / (near + 1e-30))).sum(1).mean()))
        same.append(float((exact.argmax(1) == near.argmax(1)).mean()))
    print(
        json.dumps(
            {
                "benchmark": "rounded_states",
                "dtype": dtype,
                "places": len(same),
                "tokens_after_each": AFTER,
                "largest_rounding_of_a_state": max(rounding),
                "largest_difference_of_a_probability": max(differences),
                "mean_divergence_in_nats": float(np.mean(divergences)),
                "same_most_likely_token": float(np.mean(same)),
            }
        )
    )


def _read(model: Model, ids: list[int], begin: StateArrays) -> tuple[Probabilities, StateArrays]:
    """The probabilities after each id [T, V], and the state after the last one."""
    pool = StatePool(model.config, 1)
    pool.acquire(begin)
    batch = pack_batch([(ids, 0, True)])._replace(logit_rows=np.arange(len(ids)))
    logits = model.forward(batch, pool.state)[:, : model.config.vocab_size].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    state = {name: array[0].copy() for name, array in pool.state._asdict().items()}
    return odds / odds.sum(axis=1, keepdims=True), state


if __name__ == "__main__":
    main()
