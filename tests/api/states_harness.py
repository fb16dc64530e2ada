"""The API over a fake worker, with named states in a real file."""

from pathlib import Path
from typing import Any

import httpx

from tests.api.harness import Harness
from tests.fake_text import FakeTokenizer

STATES = "/v1/states"
UNKNOWN = "state_" + 32 * "0"
IDS = FakeTokenizer().encode
HELLO = [{"role": "user", "content": "hi"}]


class StatesHarness(Harness):
    """A harness that keeps states in a folder, and a client of one tenant."""

    def __init__(self, folder: Path, limit: int = 1 << 20, **worker: Any) -> None:
        states = {"directory": str(folder), "limit_bytes": limit}
        http = {"max_body_bytes": 1024}
        super().__init__({"states": states, "http": http}, **worker)
        self.token = "mine"

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request with the tenant's token."""
        async with self.http() as http:
            headers = {"authorization": f"Bearer {self.token}"}
            return await http.request(method, path, headers=headers, **request)

    async def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The JSON of an answer that is no error."""
        response = await self.call(method, path, **request)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def create(self, **body: Any) -> dict[str, Any]:
        """A new state."""
        return await self.ask("POST", STATES, json=body)

    async def export(self, ident: str) -> bytes:
        """Its bytes."""
        return (await self.call("GET", f"{STATES}/{ident}/export")).content
