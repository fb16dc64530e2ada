"""WebSocket mode of /v1/responses, over real sockets."""

import asyncio
import contextlib
import gc
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.responses.connection_memory import ConnectionMemory, LocalResponses
from server.api.slow_clients import SlowClients
from server.api.websocket import session
from server.api.websocket.frames import FrameReader
from tests.api.harness import MODEL, serving
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.test_compaction import Compacting
from tests.api.test_open_responses import RESPONSE, check, check_response
from tests.api.websocket_client import OFFER, Client, connected, masked_frame, request

pytestmark = pytest.mark.anyio

UNSTORED = {"model": MODEL, "store": False}


@asynccontextmanager
async def opened(
    api: ResponsesHarness, http: dict[str, Any] | None = None, **headers: str
) -> AsyncIterator[Client]:
    """A connection to a server."""
    async with serving(api.app, **(http or {})) as base, connected(base, **headers) as client:
        yield client


@pytest.fixture
async def api(tmp_path: Path) -> ResponsesHarness:
    """A server's parts."""
    return ResponsesHarness(tmp_path)


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The error that is the only event."""
    (event,) = events
    assert event["type"] == "error"
    assert list(event["error"]) == ["message", "type", "param", "code"]
    assert event["status"] >= 400
    error: dict[str, Any] = event["error"]
    return error


def shape(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without ids and times."""
    text = json.dumps(events)
    for event in events:
        for ident in (event.get("response", {}).get("id"), event.get("item", {}).get("id")):
            text = text.replace(ident, "id") if ident else text
    shown: list[dict[str, Any]] = json.loads(text)
    for event in shown:
        event.get("response", {}).update({"created_at": 0, "completed_at": 0})
    return shown


async def test_events_are_those_of_a_stream(api: ResponsesHarness) -> None:
    async with opened(api) as client:
        told = await client.create(model=MODEL, seed=1)
    body = {"input": "hi", "model": MODEL, "stream": True, "seed": 1}
    streamed = (await api.call("POST", RESPONSES, "", json=body)).text
    lines = [line for line in streamed.splitlines() if line.startswith("data: ")]
    assert shape(told) == shape([json.loads(line[6:]) for line in lines])
    check_response(told[-1]["response"])
    for event in told[:2]:
        check(event["response"], RESPONSE)


async def test_responses_follow_one_another(api: ResponsesHarness) -> None:
    async with opened(api) as client:
        for _ in range(3):
            told = await client.create(**UNSTORED)
            assert told[-1]["response"]["status"] == "completed"
        assert (await client.create(tools=[], input=[]))[0]["error"]["param"] == "input"
        assert len(await client.create(**UNSTORED)) > 1


async def test_what_is_not_stored_is_gone_on_from_while_the_connection_lives(
    api: ResponsesHarness,
) -> None:
    async with serving(api.app) as base:
        async with connected(base) as client:
            first = (await client.create(**UNSTORED))[-1]["response"]
            again = {**UNSTORED, "previous_response_id": first["id"]}
            second = (await client.create(input="more", **again))[-1]["response"]
            said = ["hi", "Hello, wörld", "more"]
            assert [content for _, content in api.last_messages] == said
            assert second["previous_response_id"] == first["id"]
            third = {**UNSTORED, "previous_response_id": second["id"]}
            await client.create(input="last", **third)
            assert [content for _, content in api.last_messages][3:] == ["Hello, wörld", "last"]
            stored = {"model": MODEL, "previous_response_id": first["id"], "input": "x"}
            assert error_of(await client.create(**stored))["code"] == "previous_response_not_found"
        await _until_gone(api)
        async with connected(base) as client:
            error = error_of(await client.create(**third))
            assert error["code"] == "previous_response_not_found"
            assert error["param"] == "previous_response_id"
            assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


async def _until_gone(api: ResponsesHarness) -> None:
    async with asyncio.timeout(20):
        while api.app.state.service.local_responses.size:
            await asyncio.sleep(0)


async def test_a_stored_response_may_follow_one_that_is_not(api: ResponsesHarness) -> None:
    async with opened(api, authorization="Bearer mine") as client:
        first = (await client.create(**UNSTORED))[-1]["response"]
        body = {"previous_response_id": first["id"], "input": "more"}
        second = (await client.create(**body))[-1]["response"]
        third = await client.create(previous_response_id=second["id"], input="last")
        assert third[-1]["type"] == "response.completed"
    api.template.rendered.clear()
    await api.respond(previous_response_id=second["id"], input="by post")
    said = [content for _, content in api.last_messages]
    assert said == ["hi", "Hello, wörld", "more", "Hello, wörld", "by post"]


async def test_who_fails_to_go_on_begins_anew(api: ResponsesHarness) -> None:
    output = {"type": "function_call_output", "call_id": "call_0", "output": "?"}
    async with opened(api) as client:
        first = (await client.create(**UNSTORED))[-1]["response"]
        after = {**UNSTORED, "previous_response_id": first["id"]}
        error = error_of(await client.create(**after, input=[output]))
        assert error["param"] == "input.0.call_id"
        assert error_of(await client.create(**after))["code"] == "previous_response_not_found"


async def test_outputs_of_calls_that_are_not_there_are_refused_after_any_response(
    api: ResponsesHarness,
) -> None:
    first = await api.respond()
    output = {"type": "function_call_output", "call_id": "call_0", "output": "?"}
    body = {"input": [output], "previous_response_id": first["id"]}
    refused = await api.call("POST", RESPONSES, json=body)
    assert refused.json()["error"]["param"] == "input.0.call_id"
    call = {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"}
    await api.respond(**body | {"input": [call, output]})


@pytest.mark.parametrize("store", [True, False])
async def test_input_can_be_read_before_it_is_answered(api: ResponsesHarness, store: bool) -> None:
    async with opened(api) as client:
        told = await client.create(model=MODEL, store=store, generate=False)
        kinds = [event["type"] for event in told]
        assert kinds == ["response.created", "response.in_progress", "response.completed"]
        assert api.worker.generated[-1].task.params.max_tokens == 0
        warm = told[-1]["response"]
        assert warm["output"] == []
        assert warm["usage"]["output_tokens"] == 0
        assert warm["usage"]["input_tokens"] > 0
        body = {"model": MODEL, "store": store, "previous_response_id": warm["id"]}
        await client.create(input="go", **body)
        assert [content for _, content in api.last_messages] == ["hi", "go"]
    response = await api.respond(generate=False)
    assert (response["output"], response["status"]) == ([], "completed")


async def test_a_compaction_begins_a_new_chain(tmp_path: Path) -> None:
    api = Compacting(tmp_path)
    compaction = await api.compact()
    more = [*compaction["output"], {"type": "message", "role": "user", "content": "go"}]
    async with opened(api, authorization="Bearer mine") as client:
        told = await client.create(**UNSTORED, input=more, tools=[])
        check_response(told[-1]["response"])
        assert api.last_prompt[1]
        body = {**UNSTORED, "previous_response_id": told[-1]["response"]["id"]}
        await client.create(**body)
        assert api.last_prompt[1]


async def test_one_response_at_a_time(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with opened(api) as client:
        await client.send({"type": "response.create", **UNSTORED, "input": "hi"})
        while (await client.event())["type"] != "response.output_text.delta":
            pass
        for pieces in (1, 3):
            await client.send({"type": "response.create", "input": "x" * 10}, pieces)
            assert "One response at a time" in error_of([await client.event()])["message"]
        client.writer.write(masked_frame(9, b"still here?"))
        api.worker.release()
        assert (await client.events())[-1]["type"] == "response.completed"
        assert client.pongs == [b"still here?"]
        assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("goodbye", [masked_frame(8, b"\x03\xe8"), b""])
async def test_a_client_that_leaves_ends_the_generation(tmp_path: Path, goodbye: bytes) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with opened(api) as client:
        await client.send({"type": "response.create", **UNSTORED, "input": "hi"})
        while (await client.event())["type"] != "response.output_text.delta":
            pass
        client.writer.write(goodbye)
        if not goodbye:
            client.writer.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
        if goodbye:
            assert await client.closed() == 1000


async def test_goodbyes_are_answered_at_once(
    api: ResponsesHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LINGER_SECONDS", 3600.0)
    async with serving(api.app) as base, connected(base) as client, connected(base) as other:
        client.writer.write(masked_frame(8, b"\x03\xe8bye"))
        assert await client.closed() == 1000
        async with asyncio.timeout(20):
            assert await client.reader.read() == b""
        other.writer.write(masked_frame(2, b""))
        assert await other.closed() == 1003
        other.writer.write(masked_frame(8, b"\x03\xeb"))
        async with asyncio.timeout(20):
            assert await other.reader.read() == b""


async def test_an_engine_that_fails_is_told_in_the_form_of_errors(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, finish="error", error="out of luck")
    async with opened(api) as client:
        told = await client.create(**UNSTORED)
        assert told[-1]["type"] == "error"
        assert told[-1]["error"]["code"] == "engine_error"
        assert (await client.event())["type"] == "response.failed"
        api.worker.finish = "stop"
        assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("", "invalid_value", None),
        ("[]", "invalid_value", None),
        ('{"input": "hi"}', "invalid_value", "type"),
        ('{"type": "response.cancel"}', "invalid_value", "type"),
        ('{"type": 3}', "invalid_value", "type"),
        ('{"type": "response.create", "background": true}', "unsupported_parameter", "background"),
        ('{"type": "response.create", "input": 3}', "invalid_value", "input"),
        ('{"type": "response.create", "input": "x", "model": "o"}', "model_not_found", "model"),
    ],
)
async def test_what_is_refused(
    api: ResponsesHarness, message: str, code: str, param: str | None
) -> None:
    async with opened(api) as client:
        await client.send(message)
        error = error_of([await client.event()])
        assert (error["code"], error["param"]) == (code, param)
        await client.send({"type": "response.processed", "response_id": "resp_0"})
        assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


async def test_messages_come_in_any_pieces_also_with_the_handshake(api: ResponsesHarness) -> None:
    message = json.dumps({"type": "response.create", "input": "é" * 100_000, **UNSTORED}).encode()
    whole = masked_frame(1, message[:70_001], final=False)
    whole += masked_frame(9, b"amid") + masked_frame(0, b"", final=False)
    whole += masked_frame(0, message[70_001:])
    async with serving(api.app) as base, connected(base, whole[:50_000]) as client:
        for at in range(50_000, len(whole), 9_973):
            client.writer.write(whole[at : at + 9_973])
            await client.writer.drain()
        assert (await client.events())[-1]["type"] == "response.completed"
        assert client.pongs == [b"amid"]
    assert api.last_messages[0][1] == "é" * 100_000


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (masked_frame(1, b"{}", mask=b""), 1002),
        (masked_frame(2, b"{}"), 1003),
        (masked_frame(3, b"{}"), 1002),
        (masked_frame(0, b"{}"), 1002),
        (masked_frame(0x41, b"{}"), 1002),
        (masked_frame(9, b"x" * 126), 1002),
        (masked_frame(9, b"x", final=False), 1002),
        (masked_frame(1, b"{", final=False) + masked_frame(1, b"}"), 1002),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
async def test_what_is_no_websocket_is_closed(
    api: ResponsesHarness, frames: bytes, code: int
) -> None:
    async with opened(api) as client:
        client.writer.write(frames)
        if code == 1009:
            assert (await client.event())["error"]["code"] == "request_too_large"
        assert await client.closed() == code
        assert await client.reader.read() == b""


async def test_a_message_is_no_larger_than_a_body(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"http": {"max_body_bytes": 2000}})
    async with opened(api) as client:
        for _ in range(3):  # the limit is that of each
            assert (await client.create(**UNSTORED, input="x" * 1500))[-1]["type"] != "error"
        await client.send({"type": "response.create", "input": "x" * 3000}, 5)
        event = await client.event()
        assert (event["status"], event["error"]["code"]) == (413, "request_too_large")
        assert await client.closed() == 1009


async def test_values_of_a_message_are_counted(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"http": {"max_body_values": 10_000}})
    async with opened(api) as client:
        told = await client.create(**UNSTORED, metadata={"a": ["x" * 9] * 11_000})
        assert error_of(told)["code"] == "request_too_large"


async def test_a_message_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"http": {"slow_sender_seconds": 0.2}})
    async with opened(api) as client:
        client.writer.write(masked_frame(1, b'{"type"', final=False))
        assert error_of([await client.event()])["code"] == "request_timeout"
        client.writer.write(masked_frame(0, b": 3}"))
        assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


async def test_idle_connections_are_pinged_and_closed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.3)
    api = ResponsesHarness(tmp_path, {"http": {"ping_seconds": 0.1}})
    async with opened(api) as client:
        opcode, _ = await client.frame()
        assert opcode == 9
        assert await client.closed() == 1001


async def test_others_get_the_place_of_an_idle_connection(api: ResponsesHarness) -> None:
    async with serving(api.app, max_connections=1) as base, connected(base) as client:
        await client.create(**UNSTORED)
        async with connected(base) as other:
            assert (await other.create(**UNSTORED))[-1]["type"] == "response.completed"
            assert await client.reader.read() == b""


async def test_a_server_that_stops_lets_a_response_end(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with serving(api.app) as base, connected(base) as busy, connected(base) as idle:
        await busy.send({"type": "response.create", **UNSTORED, "input": "hi"})
        while (await busy.event())["type"] != "response.output_text.delta":
            pass
        connections = await _connections(2)
        for connection in connections:
            connection.shutdown()
        assert await idle.closed() == 1001
        api.worker.release()
        assert (await busy.events())[-1]["type"] == "response.completed"
        assert await busy.closed() == 1001


async def _connections(count: int) -> list[Any]:
    """Those of the server in this process."""
    found = [each for each in gc.get_objects() if issubclass(type(each), SlowClients)]
    alive = [each for each in found if each.tunnel is not None and not each.tunnel.has_ended]
    assert len(alive) == count
    return alive


async def test_a_client_that_does_not_read_holds_up_itself_and_is_cut(tmp_path: Path) -> None:
    pieces = ["§" * 2000] * 8000  # 32 MB, far more than sockets hold
    api = ResponsesHarness(tmp_path, script=lambda _: pieces)
    async with serving(api.app, slow_reader_seconds=0.2) as base, connected(base) as client:
        body = {"type": "response.create", **UNSTORED, "input": "hi", "max_output_tokens": 8000}
        await client.send(body)
        await api.worker.until(lambda: bool(api.worker.asleep))
        assert api.worker.pieces_sent < len(pieces)
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await client.reader.read(1 << 20):
                    pass


async def test_pings_that_nobody_reads_the_answers_to_are_not_piled_up(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    async with serving(api.app, slow_reader_seconds=0.2) as base, connected(base) as client:
        flood = masked_frame(9, b"x" * 125) * 1000
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                for _ in range(1000):  # 130 MB, which nobody would hold
                    client.writer.write(flood)
                    await client.writer.drain()
            raise AssertionError("all of it was taken")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OFFER | {"sec-websocket-version": "8"}, 426),
        (OFFER | {"sec-websocket-key": "short"}, 426),
        (OFFER | {"connection": "keep-alive"}, 426),
        (OFFER | {"content-length": "2"}, 426),
        (OFFER | {"upgrade": "h2c"}, 405),
        ({"host": "localhost"}, 405),
        (OFFER | {"host": "evil.example"}, 421),
        (OFFER | {"origin": "http://evil.example"}, 403),
    ],
)
async def test_handshakes_that_are_refused(
    api: ResponsesHarness, headers: dict[str, str], status: int
) -> None:
    async with serving(api.app) as base:
        client = await request(base, headers, b"{}" if "content-length" in headers else b"")
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(f"HTTP/1.1 {status} ")
        if status == 426:
            assert "upgrade: websocket\r\n" in head
            assert "sec-websocket-version: 13\r\n" in head
        client.writer.close()


async def test_keys_are_asked_for_at_the_handshake_and_of_each_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = ResponsesHarness(tmp_path, {"http": {"api_key": "k" * 32}})
    assert api.keys.required
    async with serving(api.app) as base:
        client = await request(base, OFFER)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        client.writer.close()
        async with connected(base, authorization=f"Bearer {'k' * 32}") as allowed:
            assert (await allowed.create(**UNSTORED))[-1]["type"] == "response.completed"
            monkeypatch.setattr(api.keys, "owner_of", lambda _: None)
            assert error_of(await allowed.create(**UNSTORED))["code"] == "invalid_api_key"


async def test_a_coding_of_the_handshake_is_not_that_of_messages(api: ResponsesHarness) -> None:
    async with opened(api, **{"content-encoding": "gzip"}) as client:
        assert (await client.create(**UNSTORED))[-1]["type"] == "response.completed"


@given(
    messages=st.lists(st.binary(max_size=300), max_size=4),
    frames=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 40), min_size=1),
    mask=st.binary(min_size=4, max_size=4),
)
def test_messages_are_the_same_however_they_are_cut(
    messages: list[bytes], frames: int, sizes: list[int], mask: bytes
) -> None:
    data = b""
    for message in messages:
        step = max(1, len(message) // frames)
        parts = [message[at : at + step] for at in range(0, len(message), step)] or [b""]
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            data += masked_frame(0 if number else 1, part, is_last, mask)
            data += masked_frame(9, part[:125], mask=mask)
    reader, found, cut = FrameReader(1000), [b""], itertools.cycle(sizes)
    while data:
        size = next(cut)
        reader.add(data[:size])
        data = data[size:]
        for part in reader.parts():
            if part.opcode == 1:
                found[-1] += part.data
                found += [b""] if part.ends else []
    assert found[:-1] == messages


def test_memory_of_connections_is_bounded() -> None:
    kept = LocalResponses(longest=50, most_bytes=100)
    connections = [ConnectionMemory(kept) for _ in range(4)]
    for number, connection in enumerate(connections):
        connection.keep("t", f"resp_{number}", b"x" * 40)
    assert kept.size == 80
    assert [bool(each.take("t", f"resp_{n}")) for n, each in enumerate(connections)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert kept.size == 0
    connections[0].keep("t", "resp_4", b"x" * 51)
    assert not connections[0].take("t", "resp_4")
    connections[0].keep("t", "resp_5", b"x" * 50)
    assert not connections[0].take("other", "resp_5")
    assert connections[0].take("t", "resp_5")
