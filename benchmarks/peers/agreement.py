"""Whether the GGUF file is the same model: log-probabilities of llama-server beside ours.

    python -m benchmarks.peers.agreement --llama-server PATH [--llama-quantize PATH]

A small model whose every parameter is random reads a few prompts with both. The last line is one
JSON object: the standard deviation of our float32 log-probabilities, and the largest and the mean
difference to them, in nats, of each of llama.cpp's types and of our int8.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from benchmarks.peers.command_line import add_program
from benchmarks.peers.model_files import FILE_TYPES, VOCAB_SIZE, quantize, write_world_gguf
from benchmarks.peers.server_process import llama_server
from server.model.model import pack_batch
from server.model.state import StatePool
from tests.model.random_models import load_model, random_tensors, write_model

Doubles = npt.NDArray[np.float64]

LAYERS, DIM, HEAD_SIZE = 2, 128, 64
LENGTHS = (1, 2, 7, 40)
"""Tokens of the prompts."""


def main() -> None:
    """Read the command line, compare every type, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_program(parser, "--llama-server", required=True)
    add_program(parser, "--llama-quantize")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "agreement", "prompts": LENGTHS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors = random_tensors(LAYERS, DIM, VOCAB_SIZE, HEAD_SIZE)  # type: ignore[no-untyped-call]
        path = folder / "model.safetensors"
        checkpoint = write_model(path, tensors, "bfloat16")  # type: ignore[no-untyped-call]
        ours = _ours(checkpoint, "float32")
        result["standard_deviation"] = round(float(np.std(ours)), 3)
        for file_type in FILE_TYPES:
            path = folder / f"{file_type}.gguf"
            write_world_gguf(checkpoint, path, file_type)
            result[file_type] = _difference(_theirs(arguments.llama_server, path), ours)
        if arguments.llama_quantize:
            path = folder / "Q8_0.gguf"
            quantize(arguments.llama_quantize, folder / "F32.gguf", path, "Q8_0")
            result["Q8_0"] = _difference(_theirs(arguments.llama_server, path), ours)
            result["our_int8"] = _difference(_ours(checkpoint, "int8"), ours)
    print(json.dumps(result))


def _prompts() -> list[list[int]]:
    rng = np.random.default_rng(7)
    return [[int(i) for i in rng.integers(1, 65_530, length)] for length in LENGTHS]


def _ours(checkpoint: Path, dtype: str) -> Doubles:
    """[prompts, V] log-probabilities of the next token."""
    model = load_model(checkpoint, dtype)  # type: ignore[no-untyped-call]
    rows: list[Doubles] = []
    for prompt in _prompts():
        state = StatePool(model.config, 1).state
        logits = model.forward(pack_batch([(prompt, 0, True)]), state)[0, :VOCAB_SIZE]
        shifted: Doubles = logits.astype(np.float64) - logits.max()
        rows.append(shifted - np.log(np.exp(shifted).sum()))
    return np.stack(rows)


def _theirs(program: Path, model: Path) -> Doubles:
    """[prompts, V] the same of llama-server, which says them with the tokens it generates."""
    rows = np.full((len(LENGTHS), VOCAB_SIZE), np.nan)
    wanted = {"n_predict": 1, "n_probs": VOCAB_SIZE, "temperature": -1.0}  # greedy, and a softmax
    with llama_server(program, model, threads=2, slots=1, context=512) as server:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
            for prompt, row in zip(_prompts(), rows, strict=True):
                reply = client.post("/completion", json={**wanted, "prompt": prompt})
                reply.raise_for_status()
                for token in reply.json()["completion_probabilities"][0]["top_logprobs"]:
                    row[token["id"]] = token["logprob"]
    return rows


def _difference(values: Doubles, exact: Doubles) -> dict[str, float]:
    difference = np.abs(values - exact)
    return {"max": float(f"{difference.max():.3g}"), "mean": float(f"{difference.mean():.3g}")}


if __name__ == "__main__":
    main()
