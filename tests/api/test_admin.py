"""/v1/admin/models: who is let in, and what the operator is told."""

import asyncio
from typing import Any

import httpx
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.workers.process import WorkerError
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
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
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


@pytest.mark.parametrize("header", ["origin", "x-forwarded-for", "forwarded"])
async def test_what_is_sent_on_behalf_of_others_is_not(header: str) -> None:
    for response in await from_peer(Harness(MODELS), ("127.0.0.1", 5), {header: "127.0.0.1"}):
        assert_error(response, 403, "admin_refused")


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
