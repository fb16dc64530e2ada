"""A client that does not send what it began is not waited for for ever."""

import asyncio
import logging
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.api.middleware import BodyLimit
from server.api.slow_clients import slow_clients
from server.config_http import HttpSettings
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import COMPLETIONS, Harness, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

BODY = b'{"prompt": "x", "max_tokens": 2}'
HEAD = (
    f"POST {COMPLETIONS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\nconnection: close\r\n\r\n"
).encode()


async def exchange(url: str, sent: bytes, first: bytes = b"") -> bytes:
    """Send some bytes, and return what comes until the server ends the connection.

    What is sent `first` is a whole request, whose answer is read before.
    """
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE):
            if first:
                writer.write(first)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
            writer.write(sent)
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEAD[:-30]])
async def test_headers_that_do_not_come_cut_the_connection(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "server.api.slow_clients")
    async with serving(Harness().app, slow_sender_seconds=0.05) as url:
        assert await exchange(url, sent) == b""
    assert "127.0.0.1 cut: no headers of a request have come for 0.05 s" in caplog.text


async def test_so_does_half_a_request_after_a_whole_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "server.api.slow_clients")
    whole = HEAD.replace(b"close", b"keep-alive") + BODY
    async with serving(Harness().app, slow_sender_seconds=1.5) as url:
        assert await exchange(url, HEAD[:-30], first=whole) == b""
    assert "127.0.0.1 cut: no headers of a request have come for 1.5 s" in caplog.text


async def test_a_body_that_does_not_come_is_told_so_and_costs_nothing() -> None:
    api = Harness({"http": {"slow_sender_seconds": 0.05}})
    async with serving(api.app) as url:
        answer = await exchange(url, HEAD + BODY[:-1])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert b"Nothing more of the request body has come for 0.05 s" in answer
    assert api.worker.generated == []


async def test_a_client_that_leaves_within_its_body_has_closed_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "server.api.access")
    api = Harness()
    async with serving(api.app) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(HEAD + BODY[:-1])
        writer.close()
        async with asyncio.timeout(PATIENCE):
            while not (
                lines := [each.fields for each in caplog.records if hasattr(each, "fields")]
            ):
                await asyncio.sleep(0)
    assert [line["error_code"] for line in lines] == ["client_closed_request"]
    assert api.worker.generated == []


async def test_an_answer_may_take_longer_than_its_request() -> None:
    api = Harness({"http": {"slow_sender_seconds": 0.01}}, hold_after=1)
    async with serving(api.app) as url:
        answering = asyncio.create_task(exchange(url, HEAD + BODY))
        await api.worker.until(lambda: bool(api.worker.generated))
        asyncio.get_running_loop().call_later(0.05, api.worker.release)
        assert (await answering).startswith(b"HTTP/1.1 200 ")


def test_only_headers_have_the_time_of_the_connection() -> None:
    loop, transport = Mock(), Mock(**{"get_extra_info.return_value": None})
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    loop.create_task.side_effect = lambda answering: answering.close() or Mock()
    config = uvicorn.Config(app=Mock(), log_config=None)
    connection = slow_clients(HttpSettings(slow_sender_seconds=7), RequestMetrics())(
        config, ServerState(), {}, loop
    )
    connection.connection_made(transport)
    (seconds, *_), _ = loop.call_later.call_args
    assert seconds == 7
    deadline = loop.call_later.return_value
    connection.data_received(HEAD[:-1])
    deadline.cancel.assert_not_called()
    connection.data_received(HEAD[-1:])
    deadline.cancel.assert_called_once_with()
    connection.data_received(BODY)
    loop.call_later.assert_called_once()


async def test_a_body_that_drips_is_refused_though_it_is_never_silent() -> None:
    api = Harness({"http": {"slow_sender_seconds": 0.2, "body_bytes_per_second": 1000}})
    async with serving(api.app) as url:
        _, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        length = b"content-length: %d" % len(BODY)
        writer.write(HEAD.replace(length, b"content-length: 10000"))

        async def drip() -> None:
            for _ in range(9000):  # at 100 bytes/s
                writer.write(b" ")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENCE):
            # Not up to the end: what still drips in resets the connection.
            answer = await reader.readuntil(b"}}")
        dripping.cancel()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert b"less than 1000 bytes/s" in answer
    assert api.worker.generated == []


@pytest.mark.parametrize(
    ("rate", "received", "waited", "allowed"),
    [
        (4096, 0, 0.0, 60),
        (4096, 0, 59.0, 1),
        (4096, 0, 61.0, 0),
        (4096, 4096 * 30, 61.0, 29),
        (4096, 16 << 20, 100.0, 60),
        (0, 0, 1e9, 60),
    ],
)
def test_how_long_more_of_a_body_may_take(
    rate: int, received: int, waited: float, allowed: float
) -> None:
    limit = BodyLimit(Mock(), lambda _: 0, 60.0, rate)
    assert limit._allowed(received, waited) == allowed
