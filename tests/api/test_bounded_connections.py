"""What a stranger can send over a socket: bounded, refused with a reason, and quietly."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.api.connection_limit import RESERVE, with_enough_files
from server.api.slow_clients import slow_clients
from server.config_http import HttpSettings
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import COMPLETIONS, Harness, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

HOST = b"host: a\r\n"
POST = f"POST {COMPLETIONS} HTTP/1.1\r\ncontent-type: application/json\r\n".encode() + HOST
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
BODY = b'{"prompt": "x", "max_tokens": 2}'
LIVE = b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n"
WHOLE = POST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE):
            yield reader, writer
    finally:
        writer.close()


async def exchange(url: str, sent: bytes) -> bytes:
    """Send some bytes, and return what comes until the server ends the connection."""
    async with connected(url) as (reader, writer):
        writer.write(sent)
        return await reader.read()


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Read one response with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split()[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def parsed(response: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error of the only response."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-request-id: req_" in head
    assert head.count(b"HTTP/1.1 ") == 1
    assert b"\n" not in body
    error = json.loads(body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return int(head.split()[1]), error


TOO_LARGE = [
    (b"GET /", b"x"),
    (b"GET /live?", b"x"),
    (b"GET /live HTTP/1.1\r\n", b"a: b\r\n"),
    (b"GET /live HTTP/1.1\r\nx: ", b"y"),
    (b"GET /live HTTP/1.1\r\n", b"y"),
    (CHUNKED + b"1\r\n{\r\n0\r\n", b"a: b\r\n"),
    (CHUNKED + b"1;", b"y"),
    (CHUNKED, b"0"),
]


@pytest.mark.parametrize("keys", [{}, {"api_key": "k"}])
@pytest.mark.parametrize("before", [b"", LIVE])
@pytest.mark.parametrize(("start", "unit"), TOO_LARGE)
async def test_what_is_too_large_gets_431_and_the_end(
    start: bytes, unit: bytes, before: bytes, keys: dict[str, str]
) -> None:
    api = Harness({"http": keys})
    sent = before + start + unit * (300_000 // len(unit))
    async with serving(api.app, max_header_bytes=4096) as url:
        async with connected(url) as (reader, writer):
            writer.write(sent)
            if before:
                assert (await answer(reader))[0] == 200
            response = await reader.read()
            if keys and b"chunked" in start and response.startswith(b"HTTP/1.1 401 "):
                return  # the app was faster
            status, error = parsed(response)
        assert (status, error["code"]) == (431, "headers_too_large")
        assert "http.max_header_bytes" in error["message"]
        assert (await exchange(url, LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")))[
            9:12
        ] == b"200"
    assert api.worker.generated == []


async def test_a_head_at_the_limit_passes_in_segments() -> None:
    head = LIVE[:-2] + b"connection: close\r\nx: \r\n\r\n"
    head = head.replace(b"x: ", b"x: " + b"y" * (1024 - len(head)))
    async with serving(Harness().app, max_header_bytes=1024) as url:
        async with connected(url) as (reader, writer):
            for at in range(0, len(head), 100):
                writer.write(head[at : at + 100])
                await asyncio.sleep(0)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        more = head.replace(b"x: ", b"x: y")
        assert parsed(await exchange(url, more))[0] == 431


INVALID = {
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b"FOO / HTTP/1.1\r\n\r\n",
    "version": b"GET / HTTP/3.1\r\n\r\n",
    "obs-fold": b"GET /live HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
    "NUL": b"GET /live HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n",
    "NUL in a name": b"GET /live HTTP/1.1\r\nhost: a\r\nx\0y: z\r\n\r\n",
    "bare CR": b"GET /live HTTP/1.1\r\nhost: a\r\nx: y\rz: w\r\n\r\n",
    "bare LF": b"GET /live HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
    "space before colon": b"GET /live HTTP/1.1\r\nhost : a\r\n\r\n",
    "no name": b"GET /live HTTP/1.1\r\n: a\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
    "no path": b"GET live HTTP/1.1\r\nhost: a\r\n\r\n",
    "two lengths": POST + b"content-length: 1\r\ncontent-length: 1\r\n\r\n{",
    "different lengths": POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    "list of lengths": POST + b"content-length: 1, 1\r\n\r\n{",
    "signed length": POST + b"content-length: +1\r\n\r\n{",
    "hexadecimal length": POST + b"content-length: 0x1\r\n\r\n{",
    "huge length": POST + b"content-length: 99999999999999999999\r\n\r\n{",
    "empty length": POST + b"content-length:\r\n\r\n{",
    "length and coding": POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two codings": POST
    + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"transfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "xchunked": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "no coding": POST + b"transfer-encoding:\r\n\r\n0\r\n\r\n",
    "chunk size": CHUNKED + b"x\r\n{\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-1\r\n{\r\n0\r\n\r\n",
    "huge chunk": CHUNKED + b"fffffffffffffffff\r\n{\r\n0\r\n\r\n",
    "chunk without CR": CHUNKED + b"1\n{\n0\n\n",
    "chunk without end": CHUNKED + b"1\r\n{0\r\n\r\n",
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("by", [1, 1 << 20])
async def test_what_is_no_http_gets_400_and_the_end_and_is_no_warning(
    name: str, by: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = Harness()
    async with serving(api.app) as url, connected(url) as (reader, writer):
        for at in range(0, len(INVALID[name]), by):
            writer.write(INVALID[name][at : at + by])
            await asyncio.sleep(0)
        writer.write(WHOLE)  # which must not be taken for a request
        status, error = parsed(await reader.read())
    assert (status, error["code"]) == (400, "invalid_http")
    assert api.worker.generated == []
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []
    lines = [each.getMessage() for each in caplog.records if each.name == "server.api.access"]
    assert len(lines) == 1


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0", b"WebSocket, h2c"])
@pytest.mark.parametrize("connection", [b"Upgrade", b"keep-alive, Upgrade, HTTP2-Settings"])
@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
async def test_upgrades_are_served_as_plain_http_and_log_no_warning(
    protocol: bytes, connection: bytes, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    more = b"connection: %b\r\n%b: %b\r\nsec-websocket-version: 13\r\n" % (
        connection,
        name,
        protocol,
    )
    asked = WHOLE.replace(HOST, HOST + more)
    api = Harness()
    async with serving(api.app) as url, connected(url) as (reader, writer):
        for _ in range(2):
            writer.write(asked)
            status, body = await answer(reader)
            assert status == 200
            assert body["choices"]
    assert len(api.worker.generated) == 2
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_trailers_do_not_become_headers() -> None:
    api = Harness({"http": {"api_key": "k"}})
    body = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    end = b"authorization: Bearer k\r\nx-request-id: mine\r\n\r\n"
    key = b"authorization: Bearer k\r\n"
    async with serving(api.app) as url, connected(url) as (reader, writer):
        writer.write(CHUNKED + body + end)
        assert (await answer(reader))[0] == 401
        writer.write(CHUNKED.replace(HOST, HOST + key) + body + end)
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"mine" not in head


async def test_requests_sent_ahead_are_answered_in_turn_and_held_within_bounds() -> None:
    api = Harness(hold_after=1)
    async with serving(api.app) as url, connected(url) as (reader, writer):
        writer.write(WHOLE)
        await api.worker.until(lambda: bool(api.worker.generated))
        client = writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        sent, ahead = 0, LIVE * 2000
        while sent < 64 << 20:  # until the server reads no more
            writer.write(ahead)
            try:
                async with asyncio.timeout(0.3):
                    await writer.drain()
            except TimeoutError:
                break
            sent += len(ahead)
        assert sent < 16 << 20  # in the buffers of the kernel
        api.worker.release()
        assert (await answer(reader))[0] == 200
        for _ in range(3000):
            assert await answer(reader) == (200, {"status": "alive"})


async def test_reading_stops_while_enough_is_held_even_if_the_app_waits_for_disconnects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.api.bounded_connection._TURN_SECONDS", 60)  # however busy
    loop, transport = Mock(), Mock(**{"get_extra_info.return_value": None})
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    loop.create_task.side_effect = lambda answering: answering.close() or Mock()
    config = uvicorn.Config(app=Mock(), log_config=None)
    connection = slow_clients(HttpSettings(), RequestMetrics())(config, ServerState(), {}, loop)
    connection.connection_made(transport)
    connection.data_received(WHOLE + LIVE)
    connection.flow.resume_reading()
    transport.pause_reading.assert_not_called()
    connection.data_received(b"x" * (64 << 10))
    transport.pause_reading.assert_called_once_with()
    connection.flow.resume_reading()
    transport.resume_reading.assert_not_called()
    connection.cycle.response_complete = True
    connection.framing.clear()
    connection._continue()
    transport.resume_reading.assert_called_once_with()


async def test_a_broken_body_ends_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api = Harness()
    async with serving(api.app) as url, connected(url) as (reader, writer):
        writer.write(CHUNKED + b"1\r\n{\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"nonsense\r\n")
        assert parsed(await reader.read())[0] == 400
    lines = [each for each in caplog.records if each.name == "server.api.access"]
    assert len(lines) == 1
    assert api.worker.generated == []


async def test_refusals_are_counted() -> None:
    api = Harness({"http": {"api_key": "k", "admin_key": "o"}})
    async with serving(api.app) as url:
        for sent in (b"GET / HTTP/1.1\r\n" + b"x" * 70_000, *INVALID.values()):
            await exchange(url, sent)
    async with api.http("o") as http:
        metrics = (await http.get("/metrics")).text
    assert 'rwkv_requests_refused_total{code="headers_too_large"} 1.0' in metrics
    count = metrics.split('rwkv_requests_refused_total{code="invalid_http"} ')[1].split()[0]
    assert float(count) >= 20


async def opened(url: str, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = url.removeprefix("http://").split(":")
    return [await asyncio.open_connection(host, int(port)) for _ in range(count)]


async def test_idle_connections_make_room_for_others(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Harness().app, max_connections=4) as url:
        idle = await opened(url, 20)
        async with connected(url) as (reader, writer):
            writer.write(LIVE)
            assert await answer(reader) == (200, {"status": "alive"})
        async with asyncio.timeout(PATIENCE):
            for reader, _ in idle[:16]:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
        for _, writer in idle:
            writer.close()
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_with_all_connections_busy_only_probes_are_answered() -> None:
    api = Harness(hold_after=1)
    async with serving(api.app, max_connections=3) as url:
        busy = await opened(url, 3)
        for _, writer in busy:
            writer.write(WHOLE)
        await api.worker.until(lambda: len(api.worker.generated) == 3)
        for path in (b"/live", b"/ready", b"/health"):
            response = await exchange(url, LIVE.replace(b"/live", path))
            assert response.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close" in response
        status, error = parsed(await exchange(url, WHOLE))
        assert (status, error["code"]) == (503, "too_many_connections")
        silent = await opened(url, RESERVE)
        response = await exchange(url, LIVE)  # takes the place of one that says nothing
        assert response.startswith(b"HTTP/1.1 200 ")
        api.worker.release()
        for reader, _ in busy:
            assert (await answer(reader))[0] == 200
        for _, writer in (*busy, *silent):
            writer.close()


async def test_the_reserve_stays_for_probes_when_those_in_it_are_replaced() -> None:
    api = Harness(hold_after=1)
    async with serving(api.app, max_connections=1) as url:
        (busy,) = await opened(url, 1)
        busy[1].write(WHOLE)
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        silent = await opened(url, RESERVE)
        for _ in range(RESERVE + 1):  # each takes the place of one that says nothing
            status, error = parsed(await exchange(url, WHOLE))
            assert (status, error["code"]) == (503, "too_many_connections")
            assert (await exchange(url, LIVE)).startswith(b"HTTP/1.1 200 ")
            silent += await opened(url, 1)
        api.worker.release()
        assert (await answer(busy[0]))[0] == 200
        for _, writer in (busy, *silent):
            writer.close()


def test_when_the_reserve_is_busy_too_new_connections_are_closed_at_once() -> None:
    metrics, transport = RequestMetrics(), Mock(**{"get_extra_info.return_value": None})
    state = ServerState()
    state.connections |= {Mock() for _ in range(5 + RESERVE)}
    protocol = slow_clients(HttpSettings(max_connections=5), metrics)
    protocol(uvicorn.Config(Mock(), log_config=None), state, {}, Mock()).connection_made(transport)
    ((sent,), _) = transport.write.call_args
    assert b"\r\nretry-after: 1\r\n" in sent
    assert parsed(sent)[0] == 503
    transport.close.assert_called_once_with()
    count = metrics.registry.get_sample_value
    assert count("rwkv_requests_refused_total", {"code": "too_many_connections"}) == 1


@pytest.mark.parametrize(
    ("soft", "hard", "most", "fitting", "raised"),
    [
        (1 << 20, 1 << 20, 1024, 1024, None),
        (1024, 1 << 20, 1024, 1024, 1568),
        (1024, resource.RLIM_INFINITY, 1024, 1024, 1568),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1024, 1024, None),
        (1024, 1024, 1024, 480, None),
        (256, 512, 1024, 128, 512),
    ],
)
def test_open_files_are_enough_for_the_connections(
    soft: int, hard: int, most: int, fitting: int, raised: int | None, monkeypatch: Any
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    assert with_enough_files(most) == fitting
    assert calls == ([(raised, hard)] if raised else [])
