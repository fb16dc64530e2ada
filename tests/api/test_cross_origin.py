"""Web pages of other origins, as a browser asks for them."""

import httpx
import pytest
from pydantic import ValidationError

from server.config import Settings
from tests.api.harness import COMPLETIONS, Harness, assert_error

pytestmark = pytest.mark.anyio

PAGE, OTHER = "http://localhost:3000", "https://elsewhere.example"
BODY = {"prompt": "a", "stream": True}


def api_for(*origins: str) -> Harness:
    return Harness({"http": {"cors_origins": list(origins), "api_key": "plain"}})


async def preflight(api: Harness, origin: str, method: str = "POST") -> httpx.Response:
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    async with api.http() as http:
        return await http.options(COMPLETIONS, headers=asked)


@pytest.mark.parametrize("origins", [(PAGE,), (OTHER, PAGE), ("*",)])
async def test_a_page_may_call_and_sees_what_clients_go_by(origins: tuple[str, ...]) -> None:
    api = api_for(*origins)
    asked = await preflight(api, PAGE)
    assert asked.status_code == 200
    allowed = asked.headers["access-control-allow-origin"]
    assert allowed in (PAGE, "*")
    assert "x-stainless-os" in asked.headers["access-control-allow-headers"]
    headers = {"origin": PAGE, "authorization": "Bearer plain"}
    async with api.http() as http:
        response = await http.post(COMPLETIONS, json=BODY, headers=headers)
    assert response.status_code == 200
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.headers["access-control-allow-origin"] == allowed
    shown = response.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-rwkv-ignored-tools"} <= set(shown)


async def test_it_sees_errors_too() -> None:
    async with api_for(PAGE).http() as http:
        response = await http.post(COMPLETIONS, json=BODY, headers={"origin": PAGE})
    assert_error(response, 401, "invalid_api_key")
    assert response.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origins", [(), (PAGE,)])
async def test_others_may_not(origins: tuple[str, ...]) -> None:
    api = api_for(*origins)
    asked = await preflight(api, OTHER)
    assert asked.status_code != 200
    async with api.http() as http:
        headers = {"origin": OTHER, "authorization": "Bearer plain"}
        response = await http.post(COMPLETIONS, json=BODY, headers=headers)
    for each in (asked, response):
        assert "access-control-allow-origin" not in each.headers


async def test_methods_that_no_route_has_are_refused() -> None:
    assert (await preflight(api_for(PAGE), PAGE, "PUT")).status_code == 400


@pytest.mark.parametrize("wrong", ["localhost:3000", "http://a/", "http://a/b", "", "null", "**"])
def test_what_no_browser_sends_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings.model_validate({"http": {"cors_origins": [wrong]}})
