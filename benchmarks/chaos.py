"""Workers die and hang, clients come and go: what is answered must not differ by a byte.

    python -m benchmarks.chaos [--seconds 120] [--workers 2] [--interval 15] [--seed 0]

Starts the real server on the embedded model. 16 clients repeat requests with fixed seeds and
compare each answer with that of the quiet server, while a monkey kills or stops workers, 200
others connect and leave, and the queue overflows. Last the server is told to stop in the middle of
it all. The last line is one JSON object. The exit code is 1 when an answer differed, when requests
were left over, or when the server did not end well.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import httpx
import psutil

from benchmarks.chaos_clients import (
    RECEIVE_BYTES,
    STORY,
    Answer,
    Leavers,
    Refused,
    Request,
    ask,
    catalogue,
)
from tests.e2e.server_process import ServerProcess

CLIENTS, LEAVERS, REQUESTS = 16, 200, 24
HANG_SECONDS = 3.0
SETTINGS = {
    "ENGINE_HANG_SECONDS": HANG_SECONDS,
    "ENGINE_THREADS": 1,
    "LIMITS_MAX_REQUESTS": 96,  # fewer than there are clients
    "CACHE_MEMORY_BYTES": 64 << 20,  # less than all states together
    "HTTP_SLOW_READER_SECONDS": 10,
}
SLOW_PAUSE = 0.02
RETRY_SECONDS = 0.2
QUIET_SECONDS = 60.0
BEFORE_THE_END = 2.0


class Chaos:
    """One run against one server."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._expected: list[tuple[Request, Answer]] = []
        self.answers = 0
        self.mismatches: list[str] = []
        self.errors: Counter[str] = Counter()
        self.deeds: Counter[str] = Counter()
        """Of the monkey."""
        self.longest_pause = 0.0
        self.draining = False

    def client(self, slow: bool = False) -> httpx.AsyncClient:
        """Of the server; a slow one has small buffers."""
        options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)] if slow else None
        transport = httpx.AsyncHTTPTransport(socket_options=options)
        return httpx.AsyncClient(base_url=self._server.url, timeout=120, transport=transport)

    async def prepare(self) -> None:
        """Ask for everything once while nothing happens; some then end by a stop string."""
        async with self.client() as http:
            reply = await http.post("/v1/states", json={"prompt": STORY})
            reply.raise_for_status()
            for number, (path, body) in enumerate(catalogue(REQUESTS, reply.json()["id"])):
                answer = await ask(http, (path, body))
                if number % 4 == 1:
                    middle = len(answer.texts[0]) // 2
                    body |= {"stop": [answer.texts[0][middle : middle + 4]]}
                    answer = await ask(http, (path, body))
                self._expected.append(((path, body), answer))

    async def compare(self, end: float, slow: bool) -> None:
        """One client, again and again until the time `end`, or until the server leaves."""
        async with self.client(slow) as http:
            while time.monotonic() < end:
                request, expected = self._rng.choice(self._expected)
                try:
                    answer = await ask(http, request, SLOW_PAUSE if slow else 0)
                except (Refused, httpx.TransportError) as error:
                    kind = error.kind if isinstance(error, Refused) else type(error).__name__
                    self.errors[("while stopping, " if self.draining else "") + kind] += 1
                    if self.draining:
                        return
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self.answers += 1
                self.longest_pause = max(self.longest_pause, answer.longest_pause)
                if answer != expected:
                    self.mismatches.append(f"{request} gave {answer}, not {expected}")

    async def disturb(self, end: float, interval: float) -> None:
        """Kill or stop a worker every `interval` seconds or so, also one that is starting."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * interval)
            if time.monotonic() > end:
                return
            worker = self._rng.choice(self._server.workers() or [None])
            deed = self._rng.choice(["kill", "stop", "pause"])
            if worker is None:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGKILL if deed == "kill" else signal.SIGSTOP)
                self.deeds[deed] += 1
                if deed == "pause":  # it may go on right when it is taken for dead
                    await asyncio.sleep(self._rng.uniform(0, 1.2) * HANG_SECONDS)
                    worker.send_signal(signal.SIGCONT)

    async def active_requests(self) -> int:
        """How many the server holds when it is quiet again, or after QUIET_SECONDS."""
        end = time.monotonic() + QUIET_SECONDS
        async with self.client() as http:
            while True:
                active = int((await http.get("/health")).json()["active_requests"])
                if not active or time.monotonic() > end:
                    return active
                await asyncio.sleep(0.2)


def start(workers: int, states: str) -> ServerProcess:
    """A server whose limits are reached in a run; `states` is a folder for named states."""
    settings: dict[str, object] = {f"RWKV_SERVER_{name}": value for name, value in SETTINGS.items()}
    settings["RWKV_SERVER_STATES_DIRECTORY"] = states
    return ServerProcess("--workers", str(workers), **settings)


async def run(server: ServerProcess, seconds: float, interval: float, seed: int) -> dict[str, Any]:
    """What happened, for the report."""
    chaos, leavers = Chaos(server, seed), Leavers(server.url, seed)
    await chaos.prepare()
    before = memory_and_files(server)
    end = time.monotonic() + seconds
    clients = [chaos.compare(end, slow=number % 4 == 0) for number in range(CLIENTS)]
    visits = [leavers.run(seconds) for _ in range(LEAVERS)]
    await asyncio.gather(*clients, *visits, chaos.disturb(end, interval))
    left_over = await chaos.active_requests()
    after = memory_and_files(server)
    exit_code = await stop_during_load(chaos, server)
    return {
        "answers": chaos.answers,
        "mismatches": len(chaos.mismatches),
        "first_mismatch": chaos.mismatches[0] if chaos.mismatches else None,
        "errors": dict(chaos.errors),
        "leavers": dict(leavers.statuses),
        "deeds": dict(chaos.deeds),
        "restarts": sum(" is back " in line for line in server.lines),
        "tracebacks": sum("Traceback" in line for line in server.lines),
        "longest_pause_s": round(chaos.longest_pause, 2),
        "left_over_requests": left_over,
        "rss_mb": [before[0], after[0]],
        "files": [before[1], after[1]],
        "exit_code": exit_code,
    }


def memory_and_files(server: ServerProcess) -> tuple[int, int]:
    """Resident megabytes and open files of the API process."""
    process = psutil.Process(server.pid)
    return process.memory_info().rss >> 20, process.num_fds()


async def stop_during_load(chaos: Chaos, server: ServerProcess) -> int:
    """The exit code of a server that has to stop while all clients ask."""
    clients = asyncio.gather(*(chaos.compare(float("inf"), slow=False) for _ in range(CLIENTS)))
    await asyncio.sleep(BEFORE_THE_END)
    chaos.draining = True
    server.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(server.wait)
    await clients
    return int(code)


def is_well(result: dict[str, Any]) -> bool:
    """Whether nothing has happened that must not."""
    bad = ("mismatches", "left_over_requests", "exit_code", "tracebacks")
    return result["answers"] > 0 and not any(result[name] for name in bad)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--interval", type=float, default=15, help="seconds between two deeds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", action="store_true", help="show what the server says")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as states,
        start(arguments.workers, states) as server,
    ):
        server.wait_until_ready()
        options = arguments.seconds, arguments.interval, arguments.seed
        result = asyncio.run(run(server, *options))
    if arguments.log:
        print("\n".join(server.lines), file=sys.stderr)
    print(json.dumps({"benchmark": "chaos", **vars(arguments), **result}))
    sys.exit(not is_well(result))


if __name__ == "__main__":
    main()
