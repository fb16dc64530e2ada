"""The API over fakes: in process for most tests, on a socket where the network matters."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from server.access.keys import Keys
from server.api.app import background_of, create_app, metrics_of
from server.api.batches import open_batches
from server.api.conversations import open_conversations
from server.api.slow_clients import slow_clients
from server.api.states import open_states
from server.config import Settings
from server.config_http import HttpSettings
from server.pool.client import EngineClient
from server.pool.process import WorkerError
from server.protocol.messages import ModelSpec
from server.registry.manager import ModelManager
from server.registry.served_model import ServedModel
from tests.fake_text import FakeTemplate
from tests.fakes import FakeWorkers, fake_model

MODEL = "org/tiny"
CREATED = 1_700_000_000
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


class Harness:
    """An app, and the fake worker and client of its default model.

    Keywords are the sections of the settings, and what all fake workers do. Nothing is read ahead
    unless the settings say so: the worker's records are then those of the requests.
    """

    def __init__(
        self,
        sections: dict[str, dict[str, Any]] | None = None,
        template_error: Exception | None = None,
        **worker: Any,
    ) -> None:
        sections = sections or {}
        # Only tests of what is kept want files.
        off = {"limit_bytes": 0}
        sections = {"states": off, "responses": off, "batches": off} | sections
        # The hosts that tests ask for.
        http = {"allowed_hosts": ["test", "testserver", "a", "x"]} | sections.get("http", {})
        sections = sections | {"http": http}
        sections = sections | {"model": {"name": MODEL} | sections.get("model", {})}
        sections = sections | {"cache": {"read_ahead": False} | sections.get("cache", {})}
        self.settings = Settings.model_validate(sections)
        self.template = FakeTemplate(template_error)
        self.workers: dict[str, FakeWorkers] = {}
        """The newest of each model."""
        self.failure: Exception | None = None
        """What later loads fail with: a WorkerError at the start, others before it."""
        self.gate: asyncio.Event | None = None
        """What later loads wait for."""

        def make_workers(spec: ModelSpec, _: int, client: EngineClient) -> FakeWorkers:
            error = self.failure if isinstance(self.failure, WorkerError) else None
            self.workers[spec.id] = FakeWorkers(spec, client, self.gate, error, **worker)
            return self.workers[spec.id]

        def open_model(spec: ModelSpec) -> ServedModel:
            if self.failure and not isinstance(self.failure, WorkerError):
                raise self.failure
            return fake_model(spec, CREATED, self.template)

        self.manager = ModelManager(self.settings, make_workers, open_model)
        self.manager.open()
        self.states = open_states(self.settings.states)
        self.keys = Keys(self.settings.http)
        self.kept = open_conversations(self.settings.responses)
        self.batches = open_batches(self.settings)
        stores = self.states, self.kept, self.batches
        self.app: FastAPI = create_app(self.settings, self.manager, *stores, self.keys)
        self.background = background_of(self.app)
        with contextlib.suppress(StopIteration):
            self.manager.start().send(None)  # nothing in it waits
        assert self.manager.started
        self.worker = self.workers[MODEL].worker
        self.client = self.worker.client

    def http(self, key: str = "") -> httpx.AsyncClient:
        """A client that calls the app without a network; it gets bodies only when complete."""
        transport = httpx.ASGITransport(self.app)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """POST a JSON body, without a network."""
        async with self.http() as http:
            return await http.post(path, json=body)

    async def post_bytes(self, path: str, content: bytes) -> httpx.Response:
        """POST bytes that claim to be JSON."""
        async with self.http() as http:
            headers = {"content-type": "application/json"}
            return await http.post(path, content=content, headers=headers)


@asynccontextmanager
async def serving(
    app: FastAPI, long_linger_seconds: float = 30.0, **http: Any
) -> AsyncIterator[str]:
    """Serve the app on a free port, in this event loop; gives the base URL.

    Keywords are settings of the section http, for the connections.
    """
    protocol = slow_clients(HttpSettings(**http), metrics_of(app))
    protocol.long_linger_seconds = long_linger_seconds
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=protocol, ws="none")
    server = uvicorn.Server(config)
    # Only the part of serve() that takes no signals from the test runner.
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await ticking
        await server.shutdown()


def events(body: str) -> list[str]:
    """The payloads of a stream's data events, without comments."""
    return [event[6:] for event in body.split("\n\n") if event.startswith("data: ")]


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The response has OpenAI's error shape, exactly; gives the inner object."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == code
    assert error["message"]
    return error
