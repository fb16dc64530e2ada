"""The API over a fake worker, with files and batches in a real folder."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.api.harness import COMPLETIONS, Harness
from tests.fakes import PATIENCE

FILES, BATCHES = "/v1/files", "/v1/batches"
OVER = ("completed", "failed", "expired", "cancelled")


def line(custom_id: str, url: str = COMPLETIONS, **body: Any) -> dict[str, Any]:
    """One request of a batch."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(*lines: dict[str, Any]) -> bytes:
    """A file of them."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


class BatchesHarness(Harness):
    """A harness that keeps files and batches in a folder, and a client of one tenant."""

    def __init__(
        self, folder: Path, sections: dict[str, dict[str, Any]] | None = None, **worker: Any
    ) -> None:
        sections = sections or {}
        batches = {"directory": str(folder)} | sections.get("batches", {})
        super().__init__(sections | {"batches": batches}, **worker)
        self.token = "mine"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Batches are computed within it; at the end they stop where they are."""
        self.batches.start()
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        finally:
            await self.batches.stop()
            self.batches.close()

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request with the tenant's token."""
        async with self.http(self.token) as http:
            return await http.request(method, path, **request)

    async def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The JSON of an answer that is no error."""
        response = await self.call(method, path, **request)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def upload(self, content: bytes, name: str = "in.jsonl", **fields: str) -> httpx.Response:
        """POST a file, for a batch if the fields do not say."""
        data = {"purpose": "batch"} | fields
        return await self.call("POST", FILES, data=data, files={"file": (name, content)})

    async def create(self, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A new batch of these lines, for the endpoint of the first."""
        file = (await self.upload(jsonl(*lines))).json()
        body = {"endpoint": lines[0]["url"], "completion_window": "24h"} | fields
        return await self.ask("POST", BATCHES, json={"input_file_id": file["id"]} | body)

    async def finished(self, ident: str) -> dict[str, Any]:
        """The batch when it is over."""
        while (batch := await self.ask("GET", f"{BATCHES}/{ident}"))["status"] not in OVER:
            await asyncio.sleep(0.005)
        return batch

    async def lines(self, ident: str | None) -> list[dict[str, Any]]:
        """The lines of a file; none if there is no file."""
        if ident is None:
            return []
        content = (await self.call("GET", f"{FILES}/{ident}/content")).text
        return [json.loads(text) for text in content.splitlines()]
