"""What abuse.py watches while it attacks: the probe, the streams and the memory of the server.

Probe and streams are processes of their own: making the bodies of attacks keeps this one busy.
"""

import asyncio
import http.client
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import httpx
import psutil

STREAMS, STREAM_TOKENS = 16, 60
PROBE_SECONDS, SAMPLE_SECONDS = 0.02, 0.05
_TIMEOUT = 120.0


class Watcher:
    """A function that runs in a process of its own, from the start of the context to its end.

    It gets the URL and a connection: it sends None when it has begun, has to end when something
    comes, and sends its report last.
    """

    def __init__(self, work: Callable[[str, Connection], None], url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(url, theirs), daemon=True)
        self.report: Any = None

    def __enter__(self) -> "Watcher":
        self._process.start()
        self._connection.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(None)
        self.report = self._connection.recv() if self._connection.poll(_TIMEOUT) else None
        self._process.join(_TIMEOUT)


def probe_live(url: str, connection: Connection) -> None:
    """Ask for /live again and again; reports the longest wait for its answer, in seconds."""
    address = url.removeprefix("http://")
    longest, begun = 0.0, False
    client = http.client.HTTPConnection(address, timeout=_TIMEOUT)
    while not connection.poll(PROBE_SECONDS):
        started = time.monotonic()
        try:
            client.request("GET", "/live")
            client.getresponse().read()
        except (OSError, http.client.HTTPException):
            client.close()
            client = http.client.HTTPConnection(address, timeout=_TIMEOUT)
        if begun:
            longest = max(longest, time.monotonic() - started)
        else:
            begun = True
            connection.send(None)
    client.close()
    connection.send(longest)


def read_streams(url: str, connection: Connection) -> None:
    """16 streams, each of which begins again when it ends.

    Reports how many ended, and what went wrong: errors, and text that was not that of the first.
    """
    connection.send(asyncio.run(_read_streams(url, connection)))


async def _read_streams(url: str, connection: Connection) -> tuple[int, list[str]]:
    expected: dict[int, str] = {}
    wrong: list[str] = []
    ended = 0
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=limits) as client:
        for seed in range(STREAMS):
            expected[seed] = await _stream(client, seed)
        connection.send(None)

        async def repeat(seed: int) -> None:
            nonlocal ended
            while not connection.poll():
                try:
                    text = await _stream(client, seed)
                except (httpx.HTTPError, RuntimeError) as error:
                    wrong.append(f"stream {seed}: {type(error).__name__}: {error}"[:200])
                    await asyncio.sleep(1.0)
                    continue
                ended += 1
                if text != expected[seed]:
                    wrong.append(f"stream {seed}: other text")

        await asyncio.gather(*(repeat(seed) for seed in range(STREAMS)))
    return ended, wrong


async def _stream(client: httpx.AsyncClient, seed: int) -> str:
    body = {
        "prompt": f"Once there were {seed} dogs.",
        "max_tokens": STREAM_TOKENS,
        "seed": seed,
        "ignore_eos": True,
        "stream": True,
    }
    events: list[str] = []
    async with client.stream("POST", "/v1/completions", json=body) as reply:
        reply.raise_for_status()
        events += [
            line.removeprefix("data: ")
            async for line in reply.aiter_lines()
            if line.startswith("data: ")
        ]
    if not events or events[-1] != "[DONE]":
        raise RuntimeError("ended without [DONE]")
    texts = (httpx.Response(200, text=event).json() for event in events[:-1])
    return "".join(choice["text"] for chunk in texts for choice in chunk["choices"])


class MemoryWatch:
    """The most resident memory of a process and its children, sampled in a thread."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.before = self.most = self.now()

    def now(self) -> int:
        """Bytes."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # a child that has just ended
                continue
        return total

    @property
    def added(self) -> int:
        """Bytes beyond what there was at first."""
        return self.most - self.before

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.most = max(self.most, self.now())

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
