"""What the next turn of a chat costs after a long history: one JSON line with ratios of one run.

    python -m benchmarks.long_conversations [--rounds 5] [--words 0 4000 16000 48000]

A turn of some 50 tokens through /v1/chat/completions after so many words of history, which the
client sends again as text, as chat clients do: milliseconds to the first token, and of the API
process's CPU. Once with the embedded model (BPE), once with a random one of the World tokenizer. In
each round all lengths are asked in turn; ratios to the first turn are medians over the rounds.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from tests.e2e.server_process import ServerProcess, run_cli

WORDS = (0, 4000, 16_000, 48_000)
_SAID = "the lighthouse stood on a rock far from coast and every evening an old man lit it".split()
Messages = list[dict[str, str]]


def history(words: int, seed: int) -> Messages:
    """Turns of a hundred words each, ended by the assistant."""
    rng, messages = random.Random(seed), []
    for number in range(2 * (words // 200)):
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": " ".join(rng.choices(_SAID, k=100)) + "."})
    return messages


def ask(http: httpx.Client, messages: Messages, api: psutil.Process) -> tuple[float, float, str]:
    """(milliseconds to the first token, of CPU until the end, what was said)."""
    body = {"messages": messages, "max_tokens": 4, "temperature": 0, "stream": True}
    used, started, first, said = _cpu(api), time.perf_counter(), 0.0, []
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200, reply.read()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            first = first or time.perf_counter()
            choices = json.loads(line.removeprefix("data: "))["choices"]
            said += [choice["delta"].get("content") or "" for choice in choices]
    return 1000 * (first - started), 1000 * (_cpu(api) - used), "".join(said)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def next_turn(
    http: httpx.Client, words: int, seed: int, api: psutil.Process
) -> tuple[float, float]:
    """The turn after a history that was asked about before."""
    rng = random.Random(seed + 1)
    messages = history(words, seed)
    if words:
        messages.append({"role": "user", "content": "And then?"})
        messages.append({"role": "assistant", "content": ask(http, messages, api)[2] or "Yes."})
        while http.get("/health").json()["reading_ahead"]:
            pass
    messages.append({"role": "user", "content": " ".join(rng.choices(_SAID, k=40)) + "?"})
    wait, cpu, _ = ask(http, messages, api)
    return wait, cpu


def measure(arguments: argparse.Namespace, *model: str) -> dict[str, object]:
    """Of one model: by words of history, medians and ratios to the first length."""
    rounds: list[list[tuple[float, float]]] = []
    with ServerProcess(*model) as server, server.wait_until_ready().client() as http:
        api = psutil.Process(server.pid)
        next_turn(http, 200, 999, api)  # warms up
        for number in range(arguments.rounds):
            seeds = enumerate(arguments.words, 100 * number)
            rounds.append([next_turn(http, words, seed, api) for seed, words in seeds])
    found: dict[str, object] = {}
    for place, words in enumerate(arguments.words):
        pairs = [(each[place], each[0]) for each in rounds]
        found[str(words)] = {
            "first_token_ms": round(statistics.median(own[0] for own, _ in pairs), 1),
            "first_token_ratio": round(statistics.median(o[0] / b[0] for o, b in pairs), 2),
            "api_cpu_ms": round(statistics.median(own[1] for own, _ in pairs), 1),
        }
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", type=int, nargs="+", default=WORDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "world.safetensors")
        code, _, error = run_cli("init", "--layers", "2", "--dim", "128", path)
        assert code == 0, error
        report = {
            "benchmark": "long_conversations",
            "bpe": measure(arguments),
            "world": measure(arguments, path, "--tokenizer", "world"),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
