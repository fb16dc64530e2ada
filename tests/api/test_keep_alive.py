"""How long an idle connection is kept, and for whom it makes room."""

import asyncio
from unittest.mock import Mock

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from server.api.connection_limit import RESERVE
from server.api.slow_clients import SlowClients, slow_clients
from server.config_http import HttpSettings
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import COMPLETIONS, Harness, serving
from tests.api.test_bounded_connections import LIVE, WHOLE, answer, connected, exchange, opened

pytestmark = pytest.mark.anyio


def connection_of(**http: float) -> SlowClients:
    """One that has got a request, on a loop and a transport that do nothing."""
    loop, transport = Mock(), Mock(**{"get_extra_info.return_value": None})
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    loop.create_task.side_effect = lambda answering: answering.close() or Mock()
    config = uvicorn.Config(app=Mock(), log_config=None)
    protocol = slow_clients(HttpSettings.model_validate(http), RequestMetrics())
    connection = protocol(config, ServerState(), {}, loop)
    connection.connection_made(transport)
    connection.data_received(LIVE)
    return connection


def end_answer(connection: SlowClients) -> None:
    connection.cycle.response_complete = True
    connection.on_response_complete()


@pytest.mark.parametrize(("http", "seconds"), [({}, 75), ({"keep_alive_seconds": 300.5}, 300.5)])
async def test_it_is_kept_as_the_settings_say_from_each_answer_on(
    http: dict[str, float], seconds: float
) -> None:
    connection = connection_of(**http)
    for _ in range(2):
        connection.loop.call_later.reset_mock()
        end_answer(connection)
        connection.loop.call_later.assert_called_once_with(
            seconds, connection.timeout_keep_alive_handler
        )
        waiting = connection.timeout_keep_alive_task
        waiting.cancel.reset_mock()
        connection.data_received(LIVE)
        waiting.cancel.assert_called_once_with()


async def test_it_is_closed_when_its_time_is_over_and_not_before_its_answer() -> None:
    api = Harness(hold_after=1)
    async with (
        serving(api.app, keep_alive_seconds=0.001) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(WHOLE)
        await api.worker.until(lambda: api.worker.pieces_sent == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        api.worker.release()
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""


async def test_a_client_goes_on_over_one_connection() -> None:
    async with serving(Harness().app) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(3):
            assert (await http.post(COMPLETIONS, json={"prompt": "a"})).status_code == 200
            (connection,) = http._transport._pool.connections
            assert connection.is_idle()
        assert "Request Count: 3" in repr(connection)


async def test_kept_connections_make_room_the_longest_idle_first() -> None:
    async with serving(Harness().app, max_connections=3, keep_alive_seconds=3600) as url:
        idle = await opened(url, 3)
        for number in (0, 1, 2, 0):  # the second is the one that has been idle for the longest
            idle[number][1].write(LIVE)
            assert (await answer(idle[number][0]))[0] == 200
        for closed in (1, 2, 0):
            (new,) = await opened(url, 1)
            new[1].write(LIVE)
            assert (await answer(new[0]))[0] == 200
            assert await idle[closed][0].read() == b""
            idle.append(new)
        for _, writer in idle:
            writer.close()


async def test_those_beyond_the_limit_are_not_kept() -> None:
    api = Harness(hold_after=1)
    async with serving(api.app, max_connections=1, keep_alive_seconds=3600) as url:
        (busy,) = await opened(url, 1)
        busy[1].write(WHOLE)
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        for _ in range(RESERVE + 1):
            assert (await exchange(url, LIVE)).startswith(b"HTTP/1.1 200 ")  # to its end
        api.worker.release()
        assert (await answer(busy[0]))[0] == 200
        busy[1].close()
