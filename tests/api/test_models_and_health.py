"""The small routes, and the description of all of them."""

import httpx
import pytest

from tests.api.harness import CHAT, COMPLETIONS, CREATED, MODEL, Harness, assert_error, serving

pytestmark = pytest.mark.anyio

DESCRIPTION = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "rwkv-server"}


async def test_models() -> None:
    async with Harness().http() as http:
        assert (await http.get("/v1/models")).json() == {"object": "list", "data": [DESCRIPTION]}
        assert (await http.get(f"/v1/models/{MODEL}")).json() == DESCRIPTION
        assert (await http.get("/v1/models/org%2Ftiny")).json() == DESCRIPTION


@pytest.mark.parametrize("model", ["other", "org", "org/tiny/", "/x"])
async def test_unknown_models(model: str) -> None:
    async with Harness().http() as http:
        assert_error(await http.get(f"/v1/models/{model}"), 404, "model_not_found")


async def test_health_and_readiness_when_ready() -> None:
    api = Harness(hold_after=0)
    async with api.http() as http:
        health = await http.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "ok"
        assert health.json()["ready"] is True
        ready = await http.get("/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "model": MODEL}


async def test_probes_may_ask_for_the_head_alone() -> None:
    api = Harness()
    async with serving(api.app) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/", "/health", "/live", "/ready"):
            head, whole = await http.head(path), await http.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == whole.headers["content-length"]
        api.manager.close()
        assert (await http.head("/ready")).status_code == 503


async def test_health_and_readiness_while_loading() -> None:
    api = Harness()
    api.client.close("compiling kernels")
    async with api.http() as http:
        health = await http.get("/health")
        assert health.status_code == 200
        assert health.json()["ready"] is False
        assert health.json()["detail"] == f"{MODEL}: compiling kernels"
        ready = await http.get("/ready")
    assert "compiling kernels" in assert_error(ready, 503, "loading")["message"]
    assert int(ready.headers["retry-after"]) >= 1


async def test_a_server_that_stops_lives_and_is_not_ready() -> None:
    api = Harness()
    api.manager.close()
    async with api.http() as http:
        assert (await http.get("/live")).json() == {"status": "alive"}
        assert_error(await http.get("/ready"), 503, "stopping")
        assert (await http.get("/health")).json()["ready"] is False


async def test_the_root_says_where_to_look() -> None:
    async with Harness().http() as http:
        root = (await http.get("/")).json()
        assert root["model"] == MODEL
        assert (await http.get(root["openapi"])).status_code == 200


async def test_the_description_has_the_real_shapes() -> None:
    async with Harness().http() as http:
        description = (await http.get("/openapi.json")).json()
    schemas = description["components"]["schemas"]
    for path, answer in ((CHAT, "ChatCompletion"), (COMPLETIONS, "Completion")):
        responses = description["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "4XX", "5XX"}  # no 422
        schema = responses["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith(f"/{answer}")
        schema = responses["4XX"]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith("/ErrorResponse")
    assert len(schemas["CompletionRequest"]["properties"]["prompt"]["anyOf"]) == 4
    assert schemas["ErrorBody"]["required"] == ["message", "type", "param", "code"]
