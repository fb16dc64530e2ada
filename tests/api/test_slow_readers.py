"""A client that does not read holds up its own requests, and not for ever."""

import asyncio
import contextlib
import json
from unittest.mock import Mock

import pytest
import uvicorn
from starlette.types import Message
from uvicorn.server import ServerState

from server.api.responses.run import Run
from server.api.sending import send_in_pieces
from server.api.slow_clients import slow_clients
from server.config_http import HttpSettings
from server.json_pieces import PIECE_BYTES
from server.pool.client import STREAM_TOKENS
from server.protocol.messages import Generate
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import COMPLETIONS, Harness, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

PIECE, PIECES = "§" * 2000, 8000
LONG = {"prompt": "long", "max_tokens": PIECES, "stream": True}


def script(request: Generate) -> list[str]:
    """32 MB for the one that asks for so much, far more than sockets hold."""
    return [PIECE] * PIECES if request.task.params.max_tokens == PIECES else ["short"]


async def open_stream(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send LONG, and read its first bytes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    content = json.dumps(LONG).encode()
    head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    close = "connection: close\r\n"
    writer.write(f"{head}{close}content-length: {len(content)}\r\n\r\n".encode() + content)
    assert b" 200 " in await reader.readline()
    return reader, writer


async def test_a_stream_that_is_not_read_sleeps_while_others_go_on_and_then_comes_whole() -> None:
    api = Harness(script=script)
    async with serving(api.app) as url:
        reader, writer = await open_stream(url)
        await api.worker.until(lambda: bool(api.worker.asleep))
        sent = api.worker.pieces_sent
        (record,) = api.worker.link.records.values()
        stream = record.put.__self__  # of which this is put()
        assert sent < PIECES
        assert len(stream._pending) <= STREAM_TOKENS
        answer = await api.post(COMPLETIONS, prompt="short", max_tokens=9)
        assert answer.json()["choices"][0]["text"] == "short"
        assert api.worker.pieces_sent == sent + 1
        async with asyncio.timeout(PATIENCE):
            body = await reader.read()
        writer.close()
    assert body.count("§".encode()) == len(PIECE) * PIECES
    assert b"data: [DONE]" in body
    assert api.worker.aborted == []


async def test_a_connection_that_is_not_read_for_too_long_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Harness(script=script)
    async with serving(api.app, slow_reader_seconds=0.05) as url:
        reader, writer = await open_stream(url)
        await api.worker.until(lambda: bool(api.worker.aborted))
        assert api.client.active_requests == 0
        rest = bytearray()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    rest += data
        writer.close()
    assert b"[DONE]" not in rest
    assert "connection of 127.0.0.1 cut: it has not been read for 0.05 s" in caplog.text


@pytest.mark.parametrize("end", ["resume_writing", "connection_lost"])
async def test_a_client_that_reads_on_or_leaves_in_time_is_not_cut(end: str) -> None:
    loop = Mock()
    transport = Mock(**{"get_extra_info.return_value": None})
    config = uvicorn.Config(app=Mock(), log_config=None)
    connection = slow_clients(HttpSettings(), RequestMetrics())(config, ServerState(), {}, loop)
    connection.connection_made(transport)
    deadline = loop.call_later.return_value = Mock()
    connection.pause_writing()
    (seconds, cut, why), _ = loop.call_later.call_args
    assert seconds == 60
    deadline.cancel.assert_not_called()
    getattr(connection, end)(*[None] * (end == "connection_lost"))
    deadline.cancel.assert_called_once_with()
    transport.abort.assert_not_called()
    cut(why)
    transport.abort.assert_called_once_with()


async def test_the_end_of_a_response_that_is_not_read_does_not_keep_its_connection() -> None:
    """The buffer may hold too little to pause writing, or the connection be about to close."""
    loop, transport = Mock(), Mock(**{"get_extra_info.return_value": None})
    transport.is_closing.return_value = True
    transport.get_write_buffer_size.return_value = 5
    config = uvicorn.Config(app=Mock(), log_config=None)
    settings = HttpSettings(slow_reader_seconds=7)
    connection = slow_clients(settings, RequestMetrics())(config, ServerState(), {}, loop)
    connection.connection_made(transport)
    connection.on_response_complete()
    (seconds, check, unread), _ = loop.call_later.call_args
    assert (seconds, unread) == (7, 5)
    transport.get_write_buffer_size.return_value = 4  # it reads, if slowly
    check(unread)
    (_, check, unread), _ = loop.call_later.call_args
    assert unread == 4
    transport.abort.assert_not_called()
    check(unread)
    transport.abort.assert_called_once_with()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
@pytest.mark.parametrize("more", [False, True])
async def test_bodies_are_written_in_pieces(size: int, more: bool) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await send_in_pieces(send, {"type": "http.response.body", "body": body, "more_body": more})
    assert b"".join(each["body"] for each in sent) == body
    assert max(len(each["body"]) for each in sent) <= PIECE_BYTES
    assert [each["more_body"] for each in sent] == [True] * (len(sent) - 1) + [more]


async def test_a_follower_that_does_not_read_holds_a_piece_of_the_events() -> None:
    run = Run("tenant", Mock(), is_streamed=True)
    run.tell([{"type": "news", "delta": "x" * 1000}] * 5000)
    run.end()
    events = [events async for events in run.follow(-1, 60)]
    assert max(map(len, events)) < PIECE_BYTES + 2000
    assert b"".join(events).count(b"event: news") == 5000
    assert b"".join(events).endswith(b"".join([each async for each in run.follow(4998, 60)]))
