"""Without keys: which hosts may be asked for, and what web pages can make a browser send."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import ValidationError

from server.config import Settings
from tests.api.harness import COMPLETIONS, Harness, assert_error, serving
from tests.api.test_bounded_connections import exchange
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

PATHS = (
    "/",
    "/live",
    "/ready",
    "/health",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/x",
    "/x",
)
EVIL = "http://evil.example"
OWN = {"host": "localhost:8000"}


def keyless(**http: Any) -> Harness:
    return Harness({"http": {"allowed_hosts": []} | http})


async def ask(api: Harness, method: str, path: str, **headers: str) -> httpx.Response:
    async with api.http() as http:
        asked = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.request(method, path, headers=asked)


ALLOWED = (
    *("localhost", "LOCALHOST", "localhost.", "localhost:8000", "localhost:", "LocalHost.:1"),
    *("app.localhost", "a.b.LOCALHOST.:8000"),
    *("127.0.0.1", "127.0.0.1:8000", "127.0.0.1.", "0.0.0.0", "192.168.1.7:80", "8.8.8.8"),
    *("[::1]", "[::1]:8000", "[::]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[FE80::1]:9"),
)
REFUSED = (
    *("evil.example", "evil.example:8000", "", " ", ".", "..", "localhost..", ":8000"),
    *("127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost", "x.localhost.evil"),
    *("0x7f.1", "2130706433", "127.1", "0177.0.0.1", "127.0.0.01", "127.0.0.256", "1.2.3.4.5"),
    *("::1", "[::1", "::1]", "[::1]x", "[]", "[v1.x]", "[localhost]", "[127.0.0.1]", "[::g]"),
    *("a@localhost", "localhost@evil.example", "localhost:80@evil", "%6cocalhost", "localhost%00"),
    *("localhost:8000:9", "localhost:x", "localhost:-1", "localhost:999999", "localhost/", "*"),
    *("localhost, evil", "localhost evil", "lócalhost", "ⅼocalhost".encode().decode("latin-1")),
    *(
        "127。0。0。1".encode().decode("latin-1"),
        "xn--localhost-x",
        "local\u00adhost",
        "\tlocalhost",
    ),
)


@pytest.mark.parametrize("host", ALLOWED)
async def test_hosts_that_no_page_can_own(host: str) -> None:
    for path in ("/live", "/v1/models"):
        assert (await ask(keyless(), "GET", path, host=host)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("origins", [(), ("http://evil.example",), ("*",)])
async def test_other_hosts_are_refused_on_every_route(
    path: str, method: str, origins: tuple[str, ...]
) -> None:
    api = keyless(cors_origins=list(origins))
    response = await ask(api, method, path, host="evil.example", origin=EVIL)
    assert response.status_code == 421
    # Whoever may call the server's own names is to see what is wrong with this one.
    assert ("access-control-allow-origin" in response.headers) == bool(origins)


@pytest.mark.parametrize("origins", [(), ("http://other.example",), (EVIL,)])
async def test_pages_may_ask_whether_they_may_call_another_host_and_see_its_refusal(
    origins: tuple[str, ...],
) -> None:
    api = keyless(cors_origins=list(origins))
    headers = {"host": "evil.example", "origin": EVIL}
    asked = await ask(api, "OPTIONS", COMPLETIONS, access_control_request_method="POST", **headers)
    assert asked.status_code == (200 if EVIL in origins else 400 if origins else 421)
    response = await ask(api, "POST", COMPLETIONS, **headers)
    assert_error(response, 421, "host_refused")
    for each in (asked, response):
        assert ("access-control-allow-origin" in each.headers) == (EVIL in origins)


@pytest.mark.parametrize("host", REFUSED)
async def test_hosts_that_a_page_could_own(host: str) -> None:
    async with keyless().http() as http:
        headers = [(b"host", host.encode("latin-1")), (b"x-forwarded-host", b"localhost")]
        response = await http.get("/v1/models", headers=headers)
    error = assert_error(response, 421, "host_refused")
    assert "http.allowed_hosts" in error["message"]


async def test_several_hosts_are_refused_and_none_is_no_browser() -> None:
    both = b"GET /live HTTP/1.1\r\nhost: localhost\r\nhost: %b\r\nconnection: close\r\n\r\n"
    none = b"GET /live HTTP/1.%d\r\nconnection: close\r\n\r\n"
    async with serving(keyless().app) as url:
        for host in (b"evil.example", b"localhost"):
            assert (await exchange(url, both % host)).startswith(b"HTTP/1.1 421 ")
        for minor in (0, 1):
            assert (await exchange(url, none % minor)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://evil.example/live", 421),
        (b"HTTP://evil.example/live", 421),
        (b"http://localhost@evil.example/live", 421),
        (b"http://evil.example:8000/live?x", 421),
        (b"x://evil.example/live", 421),
        (b"http://localhost:8000/live", 200),
        (b"http://[::1]/live", 200),
        (b"//evil.example/live", 404),  # a path
    ],
)
async def test_the_host_of_a_target_overrules_the_header(target: bytes, status: int) -> None:
    asked = b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target
    async with serving(keyless().app) as url:
        assert (await exchange(url, asked)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("setting", "host", "status"),
    [
        ("rwkv.lan", "RWKV.lan.:8000", 200),
        ("RWKV.lan.", "rwkv.lan", 200),
        ("rwkv.lan", "a.rwkv.lan", 421),
        ("rwkv.lan", "rwkv.lan.evil", 421),
        ("rwkv-server", "rwkv-server:8000", 200),
        ("*.example.org", "a.b.example.org", 200),
        ("*.example.org", "example.org", 421),
        ("*.example.org", "evilexample.org", 421),
        ("*", "anything", 200),
    ],
)
async def test_names_that_are_allowed(setting: str, host: str, status: int) -> None:
    for api in (keyless(allowed_hosts=[setting]), keyless(allowed_hosts=["x", setting])):
        assert (await ask(api, "GET", "/v1/models", host=host)).status_code == status


@pytest.mark.parametrize("name", ["", "a:80", "http://a", "a/b", "*a", "a.*", "a..b", "[::1]", "é"])
def test_names_that_no_host_can_have_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings.model_validate({"http": {"allowed_hosts": [name]}})


async def test_the_host_of_the_settings_is_allowed() -> None:
    api = keyless(host="me.lan")
    assert (await ask(api, "GET", "/live", host="me.lan:8000")).status_code == 200


async def test_with_keys_any_host_and_any_page_may_ask() -> None:
    api = keyless(api_key="k")
    headers = {"host": "evil.example", "origin": EVIL, "sec_fetch_site": "cross-site"}
    assert (await ask(api, "GET", "/live", **headers)).status_code == 200
    assert (await ask(api, "GET", "/v1/models", **headers)).status_code == 401
    headers |= {"authorization": "Bearer k"}
    assert (await ask(api, "GET", "/v1/models", **headers)).status_code == 200


async def test_refusals_are_logged_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api = keyless()
    refused = await ask(api, "GET", "/v1/x", host="evil\x1b[2J", x_request_id="mine")
    assert refused.headers["x-request-id"] == "mine"
    assert refused.text.isprintable()
    await ask(api, "POST", "/v1/y", origin=EVIL, **OWN)
    lines = [each.fields for each in caplog.records if each.name == "server.api.access"]
    assert [(line["status"], line["error_code"]) for line in lines] == [
        (421, "host_refused"),
        (403, "origin_refused"),
    ]
    count = api.app.state.service.metrics.registry.get_sample_value
    for code in ("host_refused", "origin_refused"):
        assert count("rwkv_requests_refused_total", {"code": code}) == 1


FOREIGN = (
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "file://"},
    {"origin": "https://localhost:8000"},
    {"origin": "http://localhost"},
    {"origin": "http://localhost:80000"},
    {"origin": "http://localhost:8001"},
    {"origin": "http://127.0.0.1:8000"},
    {"origin": "http://localhost:8000.evil.example"},
    {"origin": "http://localhost:8000@evil.example"},
    {"origin": "localhost:8000"},
    {"origin": "http://localhost:8000/"},
    {"origin": "http://localhost:8000, http://evil.example"},
    {"origin": "chrome-extension://abc"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "anything"},
    {"sec-fetch-site": ""},
    {"sec-fetch-site": "cross-site", "origin": "http://localhost:8000"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
)


def routes(app: Any) -> list[tuple[str, str]]:
    found = []
    for route in app.routes:
        inner = getattr(route, "original_router", None)  # newer versions of FastAPI nest them
        each = inner.routes if inner is not None else [route]
        found += [(m, r.path) for r in each if isinstance(r, APIRoute) for m in sorted(r.methods)]
    return found


@pytest.mark.parametrize("headers", FOREIGN)
async def test_what_foreign_pages_send_is_refused_on_every_route(headers: dict[str, str]) -> None:
    api = keyless()
    every = routes(api.app)
    assert len(every) > 60
    async with api.http() as http:
        for method, path in (*every, ("OPTIONS", COMPLETIONS), ("PUT", "/x")):
            if path == "/" and method in ("GET", "HEAD") and "origin" not in headers:
                continue
            response = await http.request(method, path, headers={**OWN, **headers})
            assert response.status_code == 403, (method, path)
            assert "access-control-allow-origin" not in response.headers


async def test_it_is_refused_before_its_body_is_read() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE), serving(keyless().app) as url:
        form = "multipart/form-data; boundary=x"
        head = (
            f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\norigin: {EVIL}\r\n"
            f"content-type: {form}\r\ncontent-length: 9999\r\nconnection: close\r\n\r\n"
        )
        assert (await exchange(url, head.encode())).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
        {"origin": "http://LOCALHOST.:8000"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {},
    ],
)
async def test_own_pages_programs_and_typed_addresses_go_on(headers: dict[str, str]) -> None:
    api = keyless()
    async with api.http() as http:
        sent = {**OWN, **headers}
        response = await http.post(COMPLETIONS, json={"prompt": "a"}, headers=sent)
        assert response.status_code == 200
        assert (await http.get("/v1/models", headers=sent)).status_code == 200


@pytest.mark.parametrize("host", ["rwkv.localhost", "[::1]:80", "127.0.0.1:80"])
async def test_the_usual_port_may_be_left_out(host: str) -> None:
    origin = "http://" + host.removesuffix(":80")
    response = await ask(keyless(), "POST", COMPLETIONS, host=host, origin=origin)
    assert response.status_code == 400  # no body


LINK = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


@pytest.mark.parametrize(
    ("method", "path", "change", "status"),
    [
        ("GET", "/", {}, 200),
        ("HEAD", "/", {}, 200),
        ("POST", "/", {}, 403),
        ("GET", "/v1/models", {}, 403),
        ("GET", "/", {"sec-fetch-dest": "iframe"}, 403),
        ("GET", "/", {"sec-fetch-mode": "no-cors"}, 403),
        ("GET", "/", {"origin": EVIL}, 403),
    ],
)
async def test_a_link_to_the_first_page_may_be_followed(
    method: str, path: str, change: dict[str, str], status: int
) -> None:
    async with keyless().http() as http:
        response = await http.request(method, path, headers={**OWN, **LINK, **change})
    assert response.status_code == status


@pytest.mark.parametrize("allowed", [EVIL, "chrome-extension://abc", "*"])
async def test_pages_that_are_named_may_send_and_others_may_not(allowed: str) -> None:
    api = keyless(cors_origins=[allowed])
    origin = EVIL if allowed == "*" else allowed
    page = {**OWN, "origin": origin, "sec-fetch-site": "cross-site"}
    body = {"prompt": "a"}
    async with api.http() as http:
        response = await http.post(COMPLETIONS, json=body, headers=page)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] in (origin, "*")
        asked = page | {"access-control-request-method": "POST"}
        assert (await http.options(COMPLETIONS, headers=asked)).status_code == 200
        other = page | {"origin": "http://other.example"}
        response = await http.post(COMPLETIONS, json=body, headers=other)
        assert response.status_code == (200 if allowed == "*" else 403)
        if allowed != "*":
            assert_error(response, 403, "origin_refused")
            assert "access-control-allow-origin" not in response.headers
