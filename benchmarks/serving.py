"""How soon the server is ready, and what many clients get together.

    python -m benchmarks.serving [MODEL] [--tokens 128]

Starts a real server twice (once with an empty kernel cache), then streams from 1, 4 and 16 clients
at once. The last line is one JSON object; compare its ratios, not its absolute figures.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from typing import Any

import httpx

from tests.e2e.server_process import ServerProcess

CLIENTS = (1, 4, 16)
PROMPT = "Once upon a time there was a little dog who lived by the sea. " * 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--tokens", type=int, default=128, help="per request")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = [arguments.model] if arguments.model else []
    with tempfile.TemporaryDirectory() as cache:
        cold = _seconds_to_ready(model, cache)
        warm = _seconds_to_ready(model, cache)
        with ServerProcess(*model, RWKV_SERVER_ENGINE_CACHE_DIR=cache) as server:
            server.wait_until_ready()
            rounds = [_round(server.url, arguments.tokens) for _ in range(arguments.rounds)]
    result: dict[str, Any] = {"benchmark": "serving", "tokens": arguments.tokens}
    result |= {"cold_ready_s": cold, "warm_ready_s": warm, "cold_to_warm": round(cold / warm, 1)}
    for clients in CLIENTS:
        of_clients = [a_round[clients] for a_round in rounds]
        result[f"tokens_per_s_{clients}"] = round(statistics.median(s for s, _ in of_clients), 1)
        result[f"first_token_ms_{clients}"] = round(statistics.median(t for _, t in of_clients), 1)
    for clients in CLIENTS[1:]:
        gains = [a_round[clients][0] / a_round[1][0] for a_round in rounds]
        result[f"gain_{clients}_clients"] = round(statistics.median(gains), 2)
    print(json.dumps(result))


def _seconds_to_ready(model: list[str], cache: str) -> float:
    started = time.monotonic()
    with ServerProcess(*model, RWKV_SERVER_ENGINE_CACHE_DIR=cache) as server:
        server.wait_until_ready()
        return round(time.monotonic() - started, 2)


def _round(url: str, tokens: int) -> dict[int, tuple[float, float]]:
    """Clients → (tokens/s of all together, median milliseconds to the first token)."""
    return {clients: asyncio.run(_measure(url, clients, tokens)) for clients in CLIENTS}


async def _measure(url: str, clients: int, tokens: int) -> tuple[float, float]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        started = time.monotonic()
        firsts = await asyncio.gather(*(_stream(client, i, tokens) for i in range(clients)))
        seconds = time.monotonic() - started
    return clients * tokens / seconds, statistics.median(firsts) * 1000


async def _stream(client: httpx.AsyncClient, seed: int, tokens: int) -> float:
    """Seconds to the first event of one whole stream."""
    body = {"prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    started = time.monotonic()
    first = 0.0
    request = client.stream("POST", "/v1/completions", json={**body, "seed": seed})
    async with request as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line and not first:
                first = time.monotonic() - started
    return first


if __name__ == "__main__":
    main()
