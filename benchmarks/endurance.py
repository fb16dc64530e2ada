"""Whether memory and open files stay flat: one JSON line with megabytes and counts.

    python -m benchmarks.endurance [--requests 10000] [--queued 1000]

Sends short requests (one token, distinct prompts and cache salts) to the real server on the
embedded model, and compares API process and worker after --warm-up of them with after all. Then
--queued requests with prompts of 2,000 tokens wait at once: the most and the least that each holds
from when all are there until half of them are answered. Exit code 1 when anything grew more than
the bounds allow.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

import httpx
import psutil

from tests.e2e.server_process import ServerProcess

MOST_GROWTH_MB, MOST_MORE_FILES = 16.0, 4
AT_ONCE, PROMPT_TOKENS, WAIT_SECONDS = 16, 2000, 0.1
SETTINGS = {
    "RWKV_SERVER_LIMITS_MAX_REQUESTS": 2000,
    "RWKV_SERVER_LIMITS_MAX_QUEUED_TOKENS": 10_000_000,
    "RWKV_SERVER_CACHE_MEMORY_BYTES": 64 << 20,  # full before the warm-up ends
}
Usage = dict[str, tuple[float, int]]


def usage_of(server: ServerProcess) -> Usage:
    """Process → resident megabytes, open files."""
    (worker,) = server.workers()
    processes = {"api": psutil.Process(server.pid), "worker": worker}
    return {n: (p.memory_info().rss / 2**20, p.num_fds()) for n, p in processes.items()}


async def short_requests(http: httpx.AsyncClient, first: int, last: int) -> None:
    """Requests number first to last - 1, AT_ONCE at a time. Raises httpx.HTTPStatusError."""
    numbers = iter(range(first, last))

    async def client() -> None:
        for number in numbers:
            text = f"{number} is the number of this request. " * (1 + number % 4)
            body = {"prompt": text, "max_tokens": 1, "seed": number}
            body |= {"cache_salt": f"salt {number}"} if number % 2 else {}
            (await http.post("/v1/completions", json=body)).raise_for_status()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def queued_requests(url: str, server: ServerProcess, count: int) -> list[Usage]:
    """What the processes hold while so many long prompts wait, until half of them are answered."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as http:

        async def one(number: int) -> int:
            ids = [1 + (number * 7 + i) % 250 for i in range(PROMPT_TOKENS)]
            ids[:2] = [1 + number % 250, 1 + number // 250]
            body = {"prompt": ids, "max_tokens": 1}
            return (await http.post("/v1/completions", json=body)).status_code

        running = [asyncio.create_task(one(number)) for number in range(count)]
        async with httpx.AsyncClient(base_url=url) as probe:
            while (await probe.get("/health")).json()["active_requests"] < 0.75 * count:
                await asyncio.sleep(WAIT_SECONDS)
        found = []
        while sum(task.done() for task in running) < count / 2:
            found.append(usage_of(server))
            await asyncio.sleep(WAIT_SECONDS)
        for task in running:  # the others leave
            task.cancel()
        answers = await asyncio.gather(*running, return_exceptions=True)
    refused = {each for each in answers if isinstance(each, int)} - {200}
    assert not refused, refused
    return found


async def run(server: ServerProcess, requests: int, warm_up: int, queued: int) -> dict[str, Any]:
    """Both parts, for the report."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        await short_requests(http, 0, warm_up)
        before = usage_of(server)
        await short_requests(http, warm_up, requests)
        after = usage_of(server)
    waiting = await queued_requests(server.url, server, queued)
    result: dict[str, Any] = {}
    for name in before:
        megabytes = [usage[name][0] for usage in waiting]
        result[f"{name}_mb"] = [round(before[name][0], 1), round(after[name][0], 1)]
        result[f"{name}_files"] = [before[name][1], after[name][1]]
        result[f"{name}_mb_queued"] = [round(min(megabytes), 1), round(max(megabytes), 1)]
        result[f"{name}_mb_queued_growth"] = round(megabytes[-1] - megabytes[0], 1)
    return result


def growths(result: dict[str, Any]) -> list[str]:
    """What grew more than the bounds allow, by name."""
    found = []
    for name in ("api", "worker"):
        (before, after), files = result[f"{name}_mb"], result[f"{name}_files"]
        found += [f"{name}_mb"] if after - before > MOST_GROWTH_MB else []
        found += [f"{name}_files"] if files[1] - files[0] > MOST_MORE_FILES else []
        queued = f"{name}_mb_queued_growth"
        found += [queued] if result[queued] > MOST_GROWTH_MB else []
    return found


def start() -> ServerProcess:
    """A server that lets so many wait."""
    return ServerProcess("--workers", "1", **SETTINGS)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--queued", type=int, default=1000)
    arguments = parser.parse_args()
    with start() as server:
        server.wait_until_ready()
        result = asyncio.run(run(server, arguments.requests, arguments.warm_up, arguments.queued))
    grown = growths(result)
    print(json.dumps({"benchmark": "endurance", **vars(arguments), **result, "grown": grown}))
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()
