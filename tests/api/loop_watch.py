"""How long the event loop is held up, in seconds of the processor: others may keep it busy, too."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI


class LoopWatch:
    """Takes every turn of the loop."""

    longest = 0.0
    """Between two of its turns, whatever thread computed."""

    async def take_turns(self) -> None:
        """Until cancelled."""
        last = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            self.longest = max(self.longest, now - last)
            last = now


@asynccontextmanager
async def watching() -> AsyncIterator[LoopWatch]:
    """A watch on the loop, while nothing of what tests have left is collected."""
    gc.collect()
    gc.freeze()
    watch = LoopWatch()
    task = asyncio.create_task(watch.take_turns())
    try:
        yield watch
    finally:
        await asyncio.sleep(0)
        task.cancel()
        gc.unfreeze()


class Sent:
    """The other end of a request: its body, and what is answered, never joined while it comes."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body: bytes | None = json.dumps(body).encode()
        self.status = 0
        self.parts: list[bytes] = []

    @property
    def size(self) -> int:
        """Of the answer, in bytes."""
        return sum(map(len, self.parts))

    def json(self) -> Any:
        """The answer."""
        return json.loads(b"".join(self.parts))

    def last_event(self) -> bytes:
        """The JSON of that of a stream."""
        data = [each.partition(b"data: ")[2] for each in b"".join(self.parts).split(b"\n\n")]
        return [each for each in data if each and each != b"[DONE]"][-1]

    async def ask(self, app: FastAPI, path: str, method: str = "POST") -> None:
        """Send it, until all of the answer has come."""
        assert self._body is not None
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(self._body)),
            ],
            "client": ("127.0.0.1", 1),
            "server": None,
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.parts.append(message.get("body", b""))
