"""Who is let in: every route, every role, and before anything of the body is read."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from server.api.access import OPEN_PATHS
from server.api.operator_route import OperatorRoute
from server.pool import inquiries
from tests.access.keys_files import write_keys
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _workers_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiries, "ANSWER_SECONDS", 0.001)


OPERATION = ("/v1/admin", "/v1/cache", "/metrics")
HELLO = [{"role": "user", "content": "hi"}]
WRONG: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Bearer "},
    {"authorization": "Bearer"},
    {"authorization": "Basic plain"},
    {"authorization": "plain"},
    {"x-api-key": "wrong"},
    {"x-api-key": ""},
    {"authorization": "Bearer wrong", "x-api-key": "plain"},
    {"authorization": "Bearer plain plain"},
]


def keyed(**sections: Any) -> Harness:
    """A server with the key `plain`, and `operator` of role admin."""
    http = {"api_key": "plain", "admin_key": "operator"}
    return Harness({"http": http} | sections)


def requests_of(routes: list[BaseRoute]) -> list[tuple[str, str]]:
    """A method and path for each route there is."""
    found = []
    for route in routes:
        methods = getattr(route, "methods", None) or {"GET"}
        path = getattr(route, "path", "/").replace("{model_id:path}", "m")
        found += [(method, path) for method in sorted(methods)]
    return found


def api_routes(routes: list[BaseRoute]) -> list[BaseRoute]:
    """Those of the app, also of routers within it."""
    found: list[BaseRoute] = []
    for route in routes:
        inner = getattr(route, "original_router", None)  # newer versions of FastAPI nest them
        found += api_routes(inner.routes) if inner else [route]
    return found


async def test_every_route_needs_a_key_but_the_open_ones() -> None:
    api = keyed()
    asked = requests_of(api_routes(api.app.routes))
    described = {path.replace("{model_id}", "m") for path in api.app.openapi()["paths"]}
    assert {path for _, path in asked} == described | {"/openapi.json"}
    async with api.http() as http:
        for method, path in asked:
            response = await http.request(method, path)
            if path in OPEN_PATHS:
                assert response.status_code == 200, path
            elif method == "HEAD":
                assert response.status_code == 401
            elif path.startswith(("/v1/messages", "/api/")):  # whose errors look otherwise
                assert response.status_code == 401, path
                assert "API key" in response.text
            else:
                assert_error(response, 401, "invalid_api_key")
    assert api.worker.generated == []


async def test_the_open_paths_are_few() -> None:
    assert {"/", "/health", "/live", "/ready"} == OPEN_PATHS
    async with keyed().http() as http:
        for path in ("/health/", "http://test//health"):  # served as what they mean
            assert (await http.get(path)).json()["status"] == "ok"
        for path in (
            "/v1/health",
            "/v1/v1/health",
            "/metrics/",
            "http://test//metrics",
            "/health/metrics",
            "http://test//v1/models",
            "/HEALTH",
            "/health/../metrics",
        ):
            assert_error(await http.get(path), 401, "invalid_api_key")


@pytest.mark.parametrize("headers", WRONG)
async def test_missing_and_wrong_keys_get_the_same_answer(headers: dict[str, str]) -> None:
    async with keyed().http() as http:
        expected = await http.get("/v1/models", headers={"authorization": "Bearer x" * 50})
        response = await http.get("/v1/models", headers=headers)
    assert_error(response, 401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.content == expected.content


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer plain"},
        {"authorization": "bearer  plain "},
        {"x-api-key": "plain"},
        {"authorization": "Basic whatever", "x-api-key": "plain"},
    ],
)
async def test_a_right_key_is_let_in(headers: dict[str, str]) -> None:
    async with keyed().http() as http:
        response = await http.post(COMPLETIONS, json={"prompt": "a"}, headers=headers)
    assert response.status_code == 200


async def test_a_header_that_is_no_ascii_is_only_wrong() -> None:
    async with keyed().http() as http:
        headers = {"authorization": b"Bearer \xff\xfe"}
        assert_error(await http.get("/v1/models", headers=headers), 401, "invalid_api_key")


async def test_without_keys_everybody_is_let_in() -> None:
    async with Harness().http("anything") as http:
        response = await http.post(COMPLETIONS, json={"prompt": "a"})
    assert response.status_code == 200
    assert not any(name.startswith("x-ratelimit") for name in response.headers)


async def test_routes_for_operators_are_for_keys_of_role_admin() -> None:
    api = keyed()
    routes = [route for route in api_routes(api.app.routes) if isinstance(route, APIRoute)]
    asked = requests_of([route for route in routes if route.path.startswith(OPERATION)])
    assert len(asked) == 7
    for route in routes:
        is_for_operators = "operation" in route.tags and route.path not in OPEN_PATHS
        assert isinstance(route, OperatorRoute) == is_for_operators, route.path
    for method, path in asked:
        async with api.http("plain") as http:
            refused = assert_error(await http.request(method, path), 403, "admin_refused")
            assert "role admin" in refused["message"]
        async with api.http("operator") as http:
            assert (await http.request(method, path)).status_code not in (401, 403)


async def test_an_operator_may_come_from_anywhere_with_a_key() -> None:
    transport = httpx.ASGITransport(keyed().app, client=("10.0.0.1", 5))
    headers = {"authorization": "Bearer operator", "x-forwarded-for": "10.0.0.2"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for path in ("/v1/admin/models", "/v1/cache", "/metrics"):
            assert (await http.get(path, headers=headers)).status_code == 200
        assert (await http.post(COMPLETIONS, json={"prompt": "a"}, headers=headers)).is_success


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [(CHAT, "wrong", 401), ("/v1/admin/models/load", "plain", 403)],
)
async def test_a_stranger_is_refused_before_the_body_is_read(
    path: str, key: str, status: int
) -> None:
    async def never_ends() -> AsyncIterator[bytes]:
        yield b'{"messages": '
        await asyncio.Event().wait()

    api = keyed()
    received = 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def receive_counted() -> Any:
            nonlocal received
            received += 1
            return await receive()

        await api.app(scope, receive_counted, send)

    transport = httpx.ASGITransport(counting)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.post(path, content=never_ends(), headers=headers)
    assert response.status_code == status
    assert received == 0


async def test_on_a_socket_the_refusal_comes_before_the_body_is_sent() -> None:
    async with serving(keyed().app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_the_log_names_the_key_and_never_shows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = write_keys(tmp_path / "keys.toml", {"alice": {}})
    api = Harness({"http": {"keys_file": str(tmp_path / "keys.toml")}})
    for key in (keys["alice"], "rk-wrong"):
        async with api.http(key) as http:
            await http.post(COMPLETIONS, json={"prompt": "a"})
    lines = [record.getMessage() for record in caplog.records if "access" in record.name]
    assert lines[0].endswith("1+3 tokens by alice")
    assert " 401 " in lines[1]
    assert keys["alice"] not in caplog.text
    assert "rk-wrong" not in caplog.text


async def test_a_key_that_was_taken_back_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    old = write_keys(path, {"alice": {}})["alice"]
    api = Harness({"http": {"keys_file": str(path)}})
    new = write_keys(path, {"alice": {}})["alice"]
    async with api.http(old) as first, api.http(new) as second:
        assert (await first.get("/v1/models")).status_code == 200
        assert (await second.get("/v1/models")).status_code == 401
        api.keys.reread()
        assert (await first.get("/v1/models")).status_code == 401
        assert (await second.get("/v1/models")).status_code == 200
