"""Whether memory and open files stay flat: one JSON line with megabytes and counts.

    python -m benchmarks.endurance [--requests 10000] [--queued 1000]

Sends short requests (one token, distinct prompts and cache salts) to the real server on the
embedded model, and compares API process and worker after --warm-up of them with after all. Then
half as many requests more than may be held, --queued, come at once, with prompts of 2,000 tokens;
those that are refused come again when Retry-After says. The most and the least that each process
holds from when the queue is long until the last is answered. Exit code 1 when anything grew more
than the bounds allow, or when a request was not answered.
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


class Queue:
    """More requests with long prompts than a server may hold, until all are answered."""

    def __init__(self, server: ServerProcess, limit: int) -> None:
        self._server = server
        self._limit = limit
        self.refusals = 0
        self.usage: list[Usage] = []

    async def run(self) -> None:
        """Raises httpx.HTTPStatusError when a request fails other than by queue_full."""
        limits = httpx.Limits(max_connections=None)
        options = {"base_url": self._server.url, "timeout": None, "limits": limits}
        async with httpx.AsyncClient(**options) as http, httpx.AsyncClient(**options) as probe:
            numbers = range(self._limit * 3 // 2)
            running = [asyncio.create_task(self._ask(http, number)) for number in numbers]
            while (await probe.get("/health")).json()["active_requests"] < 0.75 * self._limit:
                await asyncio.sleep(WAIT_SECONDS)
            while not all(task.done() for task in running):
                self.usage.append(usage_of(self._server))
                await asyncio.sleep(WAIT_SECONDS)
            await asyncio.gather(*running)

    async def _ask(self, http: httpx.AsyncClient, number: int) -> None:
        ids = [1 + (number * 7 + i) % 250 for i in range(PROMPT_TOKENS)]
        ids[:2] = [1 + number % 250, 1 + number // 250]
        while True:
            reply = await http.post("/v1/completions", json={"prompt": ids, "max_tokens": 1})
            if reply.status_code != httpx.codes.TOO_MANY_REQUESTS:
                reply.raise_for_status()
                return
            assert reply.json()["error"]["code"] == "queue_full", reply.text
            self.refusals += 1
            await asyncio.sleep(int(reply.headers["retry-after"]))


async def run(server: ServerProcess, requests: int, warm_up: int, queued: int) -> dict[str, Any]:
    """Both parts, for the report."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        await short_requests(http, 0, warm_up)
        before = usage_of(server)
        await short_requests(http, warm_up, requests)
        after = usage_of(server)
    queue = Queue(server, queued)
    await queue.run()
    result: dict[str, Any] = {"refusals": queue.refusals}
    for name in before:
        megabytes = [usage[name][0] for usage in queue.usage]
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
