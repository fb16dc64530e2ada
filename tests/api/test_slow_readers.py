"""A client that does not read holds up its own requests, and not for ever."""

import asyncio
import contextlib
import json
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.api.slow_clients import slow_clients
from server.workers.client import STREAM_TOKENS
from server.workers.messages import Generate
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
    connection = slow_clients(60, 7)(config, ServerState(), {}, loop)
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
