"""Paths that clients get slightly wrong: served as the right one, with its checks, or named."""

from typing import Any

import httpx
import pytest

from server.api.access import OPEN_PATHS
from tests.api.harness import CHAT, MODEL, Harness, assert_error
from tests.api.test_access import WRONG, api_routes, keyed, requests_of

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
IDS = {"{id}": "x_1", "{item_id}": "y_1"}


def spellings(path: str) -> list[str]:
    """What is served as the path."""
    found = [f"{path}/", f"{path}//", f"/{path}"]
    if path.startswith("/v1/"):
        found += [f"/v1{path}", f"/v1/v1{path}/", path.removeprefix("/v1")]
    return found


def all_spellings(api: Harness) -> list[tuple[str, str, str]]:
    """Method, path and wrong path, of every route."""
    found = []
    for method, path in requests_of(api_routes(api.app.routes)):
        for name, ident in IDS.items():
            path = path.replace(name, ident)
        wrong = spellings(path) if path != "/" else ["//", "///"]
        served = {route for _, route in requests_of(api_routes(api.app.routes))}
        # What comes after /v1/models/ is an id, which may end in a slash.
        is_id = path.startswith("/v1/models/")
        found += [
            (method, path, each)
            for each in wrong
            if each not in served and not (is_id and each.startswith("/v1/models/"))
        ]
    return found


async def test_every_route_is_found_by_its_wrong_paths_and_they_need_the_same_key() -> None:
    api = keyed(batches={"limit_bytes": 1 << 20}, states={"limit_bytes": 1 << 20})
    every = all_spellings(api)
    assert len(every) > 300
    async with api.http() as http:
        for method, path, wrong in every:
            right = await http.request(method, path)
            response = await http.request(method, f"http://localhost{wrong}")
            assert response.status_code == right.status_code, (method, wrong)
            assert response.status_code == (200 if path in OPEN_PATHS else 401), (method, wrong)
    async with api.http("plain") as http:
        for method, path, wrong in every:
            if "admin" in path or path in ("/v1/cache", "/metrics"):
                response = await http.request(method, f"http://localhost{wrong}")
                assert response.status_code == 403, (method, wrong)
                assert method == "HEAD" or "admin" in response.text


@pytest.mark.parametrize("wrong", spellings(CHAT))
@pytest.mark.parametrize("headers", WRONG)
async def test_no_wrong_key_gets_further_by_a_wrong_path(
    wrong: str, headers: dict[str, str]
) -> None:
    api = keyed()
    async with api.http() as http:
        response = await http.post(
            f"http://localhost{wrong}", json={"messages": HELLO}, headers=headers
        )
        assert_error(response, 401, "invalid_api_key")
        headers = {"authorization": "Bearer plain"}
        response = await http.post(
            f"http://localhost{wrong}", json={"messages": HELLO}, headers=headers
        )
        assert response.status_code == 200


@pytest.mark.parametrize("wrong", [*spellings(CHAT), *spellings("/v1/admin/models/unload")])
async def test_hosts_origins_and_body_limits_are_those_of_the_right_path(wrong: str) -> None:
    api = Harness({"http": {"max_body_bytes": 1024}})
    async with api.http() as http:
        response = await http.post(
            f"http://localhost{wrong}", json={}, headers={"host": "evil.example"}
        )
        assert_error(response, 421, "host_refused")
        response = await http.post(
            f"http://localhost{wrong}", json={}, headers={"origin": "http://evil.example"}
        )
        assert_error(response, 403, "origin_refused")
        response = await http.post(f"http://localhost{wrong}", content=b"x" * 1025)
        assert_error(response, 413, "request_too_large")


async def test_an_operator_is_still_one_of_this_machine() -> None:
    api = Harness()
    transport = httpx.ASGITransport(api.app, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for wrong in spellings("/v1/admin/models/unload"):
            response = await http.post(f"http://localhost{wrong}", json={"id": MODEL})
            assert_error(response, 403, "admin_refused")


async def test_errors_have_the_form_of_the_right_path() -> None:
    api = Harness()
    error = (await api.post("/v1/v1/messages", max_tokens=1)).json()
    assert error["type"] == "error"
    assert isinstance((await api.post("/api/chat/", messages=1)).json()["error"], str)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/completion", "/v1/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/api/chat", "/api/chat"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/v1/health", "/health"),
        ("/v1/embedding", "/v1/embeddings"),
        ("/api/tag", "/api/tags"),
        ("/", ""),
        ("/nothing/like/it", "/openapi.json"),
        ("/" + "x" * 5000, "/openapi.json"),
        ("/v1" * 2000, "/openapi.json"),
    ],
)
async def test_other_wrong_paths_name_the_right_one(path: str, named: str) -> None:
    response: Any = await Harness().post(path)
    assert response.status_code == (404 if named else 405)
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert named in message
    assert len(message) < 400
    if not named:
        assert message.endswith("use GET")


async def test_errors_about_models_have_the_form_of_the_client() -> None:
    anthropic = {"anthropic-version": "2023-06-01"}
    async with keyed().http() as http:
        for path in ("/v1/models", "/v1/models/x", "/models"):
            response = await http.get(path, headers=anthropic)
            assert response.json()["error"]["type"] == "authentication_error"
            assert response.headers["request-id"]
            assert_error(await http.get(path), 401, "invalid_api_key")
    async with Harness().http() as http:
        response = await http.get("/v1/models/x", headers=anthropic)
        assert (response.status_code, response.json()["type"]) == (404, "error")
        assert response.json()["error"]["type"] == "not_found_error"
        assert_error(await http.get("/v1/models/x"), 404, "model_not_found")
        response = await http.post(CHAT, json={}, headers=anthropic)
        assert_error(response, 400, "missing_required_parameter")
