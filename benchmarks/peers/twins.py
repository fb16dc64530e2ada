"""Whether our float64 twins of the generations are right: their logits beside the `rwkv` package.

    python -m benchmarks.peers.twins --rwkv-python PATH

Small models whose every parameter is random read 40 tokens with both. The last line is one JSON
object: model → the largest difference of a logit, and the same relative to the largest logit, for
all tokens at once and one by one; the package computes in float32.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.command_line import add_program
from benchmarks.peers.measure import last_json
from benchmarks.peers.programs import ProgramError, run
from tests.model.random_models import random_tensors, write_model
from tests.naive_models import twin

Tensors = dict[str, npt.NDArray[np.float32]]

LAYERS, DIMS, HEAD_SIZE, VOCAB_SIZE = 3, (128, 192), 64, 101
TOKENS = [int(token) for token in np.random.default_rng(7).integers(0, VOCAB_SIZE, 40)]
GENERATIONS = ("rwkv4", "rwkv5.0", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7", "rwkv7a")
_SWITCHES = {("0", "0"): GENERATIONS[:5], ("1", "0"): ("rwkv7",), ("1", "1"): ("rwkv7a",)}
"""RWKV_V7_ON and RWKV_DE_VERSION, by which the package knows what it reads."""
_BONUSES = ("time_first", "time_faaaa")
_RWKV_SCRIPT = Path(__file__).with_name("rwkv_logits.py")


def main() -> None:
    """Read the command line, compare all models, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_program(parser, "--rwkv-python", required=True)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "twins", "tokens": len(TOKENS)}
    try:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(result | compare(arguments.rwkv_python, Path(name))))
    except ProgramError as error:
        sys.exit(f"error: {error}")


def compare(python: Path, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Model → way of reading → `absolute` and `relative` difference. Raises ProgramError.

    python has the `rwkv` package and PyTorch; the models are written to the folder.
    """
    models = random_models()
    theirs: dict[str, dict[str, list[float]]] = {}
    for (enabled, deep), generations in _SWITCHES.items():
        paths = [
            write_model(folder / f"{name}.safetensors", tensors)  # type: ignore[no-untyped-call]
            for name, tensors in models.items()
            if name.split("-")[0] in generations
        ]
        environment = {"RWKV_V7_ON": enabled, "RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0"}
        environment["RWKV_DE_VERSION"] = deep
        theirs |= last_json(run([python, _RWKV_SCRIPT, *paths, "--tokens", *TOKENS], environment))
    return {
        name: _differences(twin(tensors).read(TOKENS), theirs[name])  # type: ignore[no-untyped-call]
        for name, tensors in models.items()
    }


def random_models() -> dict[str, Tensors]:
    """Name → tensors, with both names of the bonus where a generation has known both."""
    models: dict[str, Tensors] = {}
    for generation in GENERATIONS:
        for dim in DIMS:
            tensors: Tensors = random_tensors(  # type: ignore[no-untyped-call]
                LAYERS, dim, VOCAB_SIZE, HEAD_SIZE, generation=generation
            )
            names = _BONUSES if generation in ("rwkv5.0", "rwkv5.1") else ("",)
            for name in names:
                models[f"{generation}-{dim}{'-' if name else ''}{name}"] = _renamed(tensors, name)
    return models


def _renamed(tensors: Tensors, bonus: str) -> Tensors:
    """With the bonus of all layers under this name, unless it is empty."""
    renamed: Tensors = {}
    for name, values in tensors.items():
        prefix, _, last = name.rpartition(".")
        renamed[f"{prefix}.{bonus}" if bonus and last in _BONUSES else name] = values
    return renamed


def _differences(
    ours: npt.NDArray[np.float64], theirs: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for way, logits in theirs.items():
        largest = float(np.abs(ours - np.array(logits)).max())
        relative = largest / float(np.abs(ours).max())
        found[way] = {"absolute": float(f"{largest:.2g}"), "relative": float(f"{relative:.2g}")}
    return found


if __name__ == "__main__":
    main()
