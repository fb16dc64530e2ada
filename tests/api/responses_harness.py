"""The API over a fake worker, with responses in a real file, and the official client on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI

from server.stores.responses.records import UNFINISHED
from tests.api.harness import Harness, serving

RESPONSES = "/v1/responses"
CONVERSATIONS = "/v1/conversations"


class ResponsesHarness(Harness):
    """A harness that keeps responses in a folder."""

    def __init__(
        self, folder: Path, sections: dict[str, dict[str, Any]] | None = None, **worker: Any
    ) -> None:
        sections = sections or {}
        kept = {"directory": str(folder)} | sections.get("responses", {})
        super().__init__(sections | {"responses": kept}, **worker)

    @asynccontextmanager
    async def sdk(self, key: str = "mine") -> AsyncIterator[AsyncOpenAI]:
        """The asynchronous client of one tenant, without its retries."""
        async with (
            serving(self.app) as base,
            AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0) as client,
        ):
            yield client

    async def ask(self, method: str, path: str, key: str = "mine", **request: Any) -> Any:
        """The JSON of an answer that is no error."""
        response = await self.call(method, path, key, **request)
        assert response.status_code == 200, response.text
        return response.json()

    async def call(
        self, method: str, path: str, key: str = "mine", **request: Any
    ) -> httpx.Response:
        """An answer."""
        async with self.http(key) as http:
            return await http.request(method, path, **request)

    async def respond(self, **body: Any) -> dict[str, Any]:
        """A new response."""
        response: dict[str, Any] = await self.ask("POST", RESPONSES, json={"input": "hi"} | body)
        return response

    async def until_ended(self, ident: str) -> dict[str, Any]:
        """A response that is made in the background, when it is over."""
        while True:
            response: dict[str, Any] = await self.ask("GET", f"{RESPONSES}/{ident}")
            if response["status"] not in UNFINISHED:
                return response

    @property
    def last_messages(self) -> list[tuple[str, str]]:
        """Role and content of what the model has read last."""
        conversations = [said for said in self.template.rendered if len(said) > 0]
        longest = max(conversations, key=len)
        self.template.rendered.clear()
        return [(message["role"], message["content"]) for message in longest]
