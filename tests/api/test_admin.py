"""/v1/admin/models: who is let in, and what the operator is told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.pool.process import WorkerError
from tests.api.harness import COMPLETIONS, MODEL, Harness, assert_error

pytestmark = pytest.mark.anyio

ADMIN = "/v1/admin/models"
MODELS = {"models": {"other": {"aliases": ["o"], "states": {"poet": "p"}, "preload": False}}}
ACTIONS = ("load", "reload", "unload")


async def from_peer(
    api: Harness, client: Any, headers: dict[str, str] | None = None
) -> list[httpx.Response]:
    """What somebody at this address gets for each route."""
    transport = httpx.ASGITransport(api.app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        responses = [await http.get(ADMIN, headers=headers)]
        for action in ACTIONS:
            body = {"id": "other"}
            responses.append(await http.post(f"{ADMIN}/{action}", json=body, headers=headers))
    return responses


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_programs_on_this_machine_are_let_in(host: str) -> None:
    responses = await from_peer(Harness(MODELS), (host, 5))
    assert [response.status_code for response in responses] == [200] * 4


@pytest.mark.parametrize("peer", [("10.0.0.1", 5), ("::ffff:10.0.0.1", 5), ("nonsense", 5), None])
async def test_others_are_not(peer: Any) -> None:
    api = Harness(MODELS)
    for response in await from_peer(api, peer):
        assert assert_error(response, 403, "admin_refused")["type"] == "permission_error"
    assert api.manager.models["other"].loads == 0


@pytest.mark.parametrize(
    "header",
    [
        *("origin", "x-forwarded-for", "forwarded", "via", "x-real-ip", "cf-connecting-ip"),
        *("true-client-ip", "referer", "sec-fetch-site", "X-Original-URL", "fly-client-ip"),
    ],
)
async def test_what_is_sent_on_behalf_of_others_is_not(header: str) -> None:
    api = Harness(MODELS | {"http": {"cors_origins": ["*"]}})
    for response in await from_peer(api, ("127.0.0.1", 5), {header: "127.0.0.1"}):
        assert_error(response, 403, "admin_refused")


@pytest.mark.parametrize("host", ["models.example.org", "10.0.0.1:8000", "rebound.test"])
async def test_what_was_sent_to_another_name_is_not(host: str) -> None:
    api = Harness(MODELS | {"http": {"allow_no_keys": True}})
    for response in await from_peer(api, ("127.0.0.1", 5), {"host": host}):
        assert response.status_code in (403, 421)  # the host may be refused before
    assert api.manager.models["other"].loads == 0


NOWHERE = ["/etc/passwd", "../secret", "hf:a/b", "/dev/zero", "~/.ssh/id_rsa", "a\0b", "\ud800"]


@pytest.mark.parametrize("file", NOWHERE)
@pytest.mark.parametrize("ident", ["new", "other", "o"])
async def test_without_keys_files_are_those_of_the_settings(file: str, ident: str) -> None:
    api = Harness(MODELS)
    for param, value in (
        ("path", file),
        ("tokenizer", file),
        ("states", {"s": file}),
        ("adapters", [file]),
    ):
        response = await load(api, {"id": ident, param: value})
        if response.status_code != 400:  # no text in UTF-8, or with a NUL
            error = assert_error(response, 403, "admin_refused")
            assert error["param"] == param
            assert "model.directories" in error["message"]
    assert list(api.manager.models) == [MODEL, "other"]
    assert api.manager.models["other"].loads == 0


@pytest.mark.parametrize(
    "ident",
    ["../../etc/passwd", "/etc/passwd", "hf:a/b", "..", "a/../b", "~", "other:nobody", "a\u2028b"],
)
@pytest.mark.parametrize("action", ACTIONS)
async def test_ids_are_no_paths(action: str, ident: str) -> None:
    response = await Harness(MODELS).post(f"{ADMIN}/{action}", id=ident)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in ("model_not_found", "invalid_value")


async def test_without_keys_a_model_of_a_directory_is_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "m.pth").touch()
    (tmp_path / "leak.pth").symlink_to("/etc/passwd")
    api = Harness({"model": {"directories": [str(tmp_path)]}})
    loaded = await load(api, {"id": "mine", "path": str(tmp_path / "m.pth")})
    assert loaded.json()["state"] == "ready"
    refused = await load(api, {"id": "leak", "path": str(tmp_path / "leak.pth")})
    assert_error(refused, 403, "admin_refused")


async def test_a_key_of_role_admin_may_name_any_file() -> None:
    api = Harness(MODELS | {"http": {"admin_key": "operator"}})
    async with api.http("operator") as http:
        response = await http.post(f"{ADMIN}/load", json={"id": "new", "path": "/srv/x.pth"})
    assert response.json()["path"] == "/srv/x.pth"


async def load(api: Harness, body: dict[str, Any]) -> httpx.Response:
    return await api.post_bytes(f"{ADMIN}/load", json.dumps(body).encode())


async def test_the_routes_can_be_switched_off() -> None:
    responses = await from_peer(Harness(MODELS | {"http": {"admin": "off"}}), ("127.0.0.1", 5))
    for response in responses:
        assert_error(response, 404, "unknown_url")


async def test_what_is_told_of_a_model() -> None:
    api = Harness(MODELS)
    async with api.http() as http:
        listed = (await http.get(ADMIN)).json()
        assert [(model["id"], model["state"]) for model in listed["data"]] == [
            (MODEL, "ready"),
            ("other", "available"),
        ]
        loaded = (await http.post(f"{ADMIN}/load", json={"id": "o", "dtype": "int8"})).json()
    assert loaded == {
        "id": "other",
        "object": "admin.model",
        "default": False,
        "state": "ready",
        "detail": "",
        "active_requests": 0,
        "loads": 1,
        "dtype": "float32",
        "workers": 1,
        "generation": "rwkv7",
        "path": "",
        "aliases": ["o"],
        "states": ["poet"],
    }
    assert api.workers["other"].spec.dtype == "int8"


async def test_the_life_of_a_model() -> None:
    api = Harness(MODELS)
    body = {"prompt": "a", "model": "other"}
    error = assert_error(await api.post(COMPLETIONS, **body), 503, "model_not_loaded")
    assert f'POST {ADMIN}/load {{"id": "other"}}' in error["message"]
    assert (await api.post(f"{ADMIN}/load", id="other")).json()["state"] == "ready"
    assert (await api.post(COMPLETIONS, **body)).json()["model"] == "other"
    assert_error(await api.post(f"{ADMIN}/load", id="other"), 409, "model_conflict")
    assert (await api.post(f"{ADMIN}/reload", id="other")).json()["loads"] == 2
    assert (await api.post(COMPLETIONS, **body)).status_code == 200
    assert (await api.post(f"{ADMIN}/unload", id="other")).json()["state"] == "available"
    response = await api.post(COMPLETIONS, **body)
    assert response.headers["x-should-retry"] == "false"
    assert_error(response, 503, "model_not_loaded")


async def test_an_unload_waits_for_the_answer_of_a_request() -> None:
    api = Harness(hold_after=1)
    async with api.http() as http:
        answer = asyncio.create_task(http.post(COMPLETIONS, json={"prompt": "a"}))
        await api.worker.until(lambda: api.worker.pieces_sent == 1)
        unloading = asyncio.create_task(http.post(f"{ADMIN}/unload", json={"id": MODEL}))
        while api.manager.models[MODEL].state != "unloading":
            await asyncio.sleep(0)
        (listed,) = (await http.get(ADMIN)).json()["data"]
        assert (listed["state"], listed["active_requests"]) == ("unloading", 1)
        assert_error(await http.post(COMPLETIONS, json={"prompt": "a"}), 503, "model_not_loaded")
        assert_error(await http.post(f"{ADMIN}/reload", json={"id": MODEL}), 409, "model_conflict")
        api.worker.release()
        assert (await answer).json()["choices"][0]["text"] == "Hello, wörld"
        assert (await unloading).json()["state"] == "available"
        health = (await http.get("/health")).json()
        assert (health["ready"], health["detail"]) == (False, "no model is loaded")
        assert (health["model"], health["generation"]) == (MODEL, "")
        assert_error(await http.get("/ready"), 503, "loading")
    assert api.workers[MODEL].stopped


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (CheckpointError("x.pth: broken"), 400, "model_load_failed"),
        (MemoryError(), 400, "model_load_failed"),
        (WorkerError("x.pth: broken", exit_code=2), 400, "model_load_failed"),
        (WorkerError("worker-0 was ended by signal 9", exit_code=1), 500, "engine_error"),
    ],
)
async def test_a_failure_is_told_and_the_old_model_goes_on(
    failure: Exception, status: int, code: str
) -> None:
    api = Harness()
    api.failure = failure
    error = assert_error(await api.post(f"{ADMIN}/reload", id=MODEL), status, code)
    assert error["message"] == (str(failure) or "MemoryError")
    assert (await api.post(COMPLETIONS, prompt="a")).status_code == 200
    async with api.http() as http:
        (listed,) = (await http.get(ADMIN)).json()["data"]
    assert (listed["state"], listed["detail"], listed["loads"]) == ("ready", error["message"], 1)


async def test_why_a_load_failed_is_not_for_clients() -> None:
    api = Harness(MODELS)
    api.failure = CheckpointError("/srv/models/other.pth: broken")
    assert (await api.post(f"{ADMIN}/load", id="other")).status_code == 400
    response = await api.post(COMPLETIONS, prompt="a", model="other")
    assert "(failed)" in assert_error(response, 503, "model_not_loaded")["message"]
    async with api.http() as http:
        for path in ("/v1/models", "/v1/models/other", "/health", "/ready", "/api/tags", "/api/ps"):
            assert "/srv" not in (await http.get(path)).text
        shown = await http.post("/api/show", json={"model": "other"})
        assert "/srv" not in response.text + shown.text
        # The operator is told.
        assert "/srv/models/other.pth: broken" in (await http.get(ADMIN)).text


@pytest.mark.parametrize("action", ACTIONS)
async def test_models_that_nobody_knows(action: str) -> None:
    error = assert_error(await Harness().post(f"{ADMIN}/{action}", id="x"), 404, "model_not_found")
    assert MODEL in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "id"),
        ({"id": ""}, "id"),
        ({"id": 3}, "id"),
        ({"id": "x", "paht": "y"}, "paht"),
        ({"id": "x", "dtype": "int3"}, "dtype"),
        ({"id": "x", "adapters": ["f:nan"]}, "adapters.0"),
    ],
)
async def test_what_is_wrong_with_a_request(fields: dict[str, Any], param: str) -> None:
    response = await Harness().post(f"{ADMIN}/load", **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_a_server_that_stops_gives_up_a_load() -> None:
    api = Harness(MODELS)
    api.gate = asyncio.Event()  # never opened
    loading = asyncio.create_task(api.post(f"{ADMIN}/load", id="other"))
    while "other" not in api.workers:
        await asyncio.sleep(0)
    api.manager.close()
    assert_error(await loading, 503, "stopping")
