"""Whether memory and open files stay flat: one JSON line with megabytes and counts.

    python -m benchmarks.endurance [--requests 10000] [--queued 1000]

Sends short requests (one token, distinct prompts and cache salts) to the real server on the
embedded model, and compares API process and worker after --warm-up of them with after all. Then
half as many requests more than may be held, --queued, come at once, with prompts of 2,000 tokens:
the most and the least that each process holds from when the queue is long until the last is
answered or refused. Exit code 1 when anything grew more than the bounds allow, or when a request
got anything but its answer or 429 with Retry-After.
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


async def overflow(server: ServerProcess, limit: int) -> tuple[int, list[Usage]]:
    """Half as many requests more than the limit at once, to the end.

    Returns how many were refused, and what the processes held meanwhile.
    """
    options = {
        "base_url": server.url,
        "timeout": None,
        "limits": httpx.Limits(max_connections=None),
    }
    async with httpx.AsyncClient(**options) as http, httpx.AsyncClient(**options) as probe:

        async def is_refused(number: int) -> bool:
            ids = [1 + (number * 7 + i) % 250 for i in range(PROMPT_TOKENS)]
            ids[:2] = [1 + number % 250, 1 + number // 250]
            reply = await http.post("/v1/completions", json={"prompt": ids, "max_tokens": 1})
            if reply.status_code == httpx.codes.OK:
                return False
            assert reply.json()["error"]["code"] == "queue_full", reply.text
            assert int(reply.headers["retry-after"]) >= 1
            return True

        asking = asyncio.gather(*(is_refused(number) for number in range(limit * 3 // 2)))
        while (await probe.get("/health")).json()["active_requests"] < 0.75 * limit:
            await asyncio.sleep(WAIT_SECONDS)
        found = []
        while not asking.done():
            found.append(usage_of(server))
            await asyncio.sleep(WAIT_SECONDS)
        return sum(await asking), found


async def run(server: ServerProcess, requests: int, warm_up: int, queued: int) -> dict[str, Any]:
    """Both parts, for the report."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        await short_requests(http, 0, warm_up)
        before = usage_of(server)
        await short_requests(http, warm_up, requests)
        after = usage_of(server)
    refused, waiting = await overflow(server, queued)
    result: dict[str, Any] = {"refused": refused}
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


def start(queued: int) -> ServerProcess:
    """A server that holds so many requests."""
    return ServerProcess("--workers", "1", RWKV_SERVER_LIMITS_MAX_REQUESTS=queued, **SETTINGS)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--queued", type=int, default=1000)
    arguments = parser.parse_args()
    with start(arguments.queued) as server:
        server.wait_until_ready()
        result = asyncio.run(run(server, arguments.requests, arguments.warm_up, arguments.queued))
    grown = growths(result)
    print(json.dumps({"benchmark": "endurance", **vars(arguments), **result, "grown": grown}))
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()
