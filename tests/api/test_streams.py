"""What the network sees of a stream: framing, pings, failures on the way, slow readers."""

import asyncio
import json
import re
import socket

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.harness import CHAT, COMPLETIONS, Harness, events, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

BODY = {"prompt": "a", "stream": True, "max_tokens": 1000}


async def test_bytes_on_the_wire() -> None:
    api = Harness(script=lambda _: ["a\n\nb", "€ \u2028 \x00"])
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        response = await http.post(url + COMPLETIONS, json=BODY)
    assert response.content.endswith(b"\n\ndata: [DONE]\n\n")
    text = ""
    for event in response.content.removesuffix(b"\n\n").split(b"\n\n")[:-1]:
        assert event.startswith(b"data: {")
        assert b"\n" not in event  # a line break in the text must not end the event
        text += json.loads(event[6:])["choices"][0]["text"]
    assert text == "a\n\nb€ \u2028 \x00"


@pytest.mark.parametrize("hold_after", [0, 1])
async def test_silence_is_filled_with_pings(hold_after: int) -> None:
    api = Harness({"http": {"ping_seconds": 0.01}}, hold_after=hold_after)
    pings = 0
    lines = []
    async with (
        serving(api.app) as url,
        httpx.AsyncClient() as http,
        http.stream("POST", url + COMPLETIONS, json=BODY) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            lines.append(line)
            pings += line == ": ping"
            if pings == 3:
                api.worker.release()
    assert pings >= 3
    texts = [json.loads(data)["choices"][0]["text"] for data in events("\n".join(lines))[:-1]]
    assert "".join(texts) == "Hello, wörld"


async def test_a_stream_that_is_not_silent_has_no_ping() -> None:
    response = await Harness().post(COMPLETIONS, **BODY)
    assert ": ping" not in response.text


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_failure_on_the_way_is_the_last_event(path: str) -> None:
    api = Harness(hold_after=1)
    body = BODY | {"messages": [{"role": "user", "content": "hi"}]}
    seen = []
    async with (
        serving(api.app) as url,
        httpx.AsyncClient() as http,
        http.stream("POST", url + path, json=body) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            seen.append(line)
            if "Hello" in line:
                api.client.fail_all("worker 0 died")
    *_, last = events("\n".join(seen))
    assert set(json.loads(last)) == {"error"}
    assert json.loads(last)["error"]["code"] == "engine_error"
    assert "worker 0 died" in json.loads(last)["error"]["message"]
    assert "[DONE]" not in "\n".join(seen)


async def test_a_bug_on_the_way_is_an_event_that_leaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Harness(hold_after=1)
    seen = []
    async with (
        serving(api.app) as url,
        httpx.AsyncClient() as http,
        http.stream("POST", url + COMPLETIONS, json=BODY) as response,
    ):
        async for line in response.aiter_lines():
            seen.append(line)
            if "Hello" in line:
                api.worker.send_nonsense()
    error = json.loads(events("\n".join(seen))[-1])["error"]
    assert error["code"] == "internal_error"
    assert "unexpected error during a stream" in caplog.text
    assert api.worker.aborted == [api.worker.generated[0].request_id]


async def test_a_slow_reader_costs_the_worker_nothing() -> None:
    size, count = 1 << 18, 60
    api = Harness(script=lambda _: ["~" * size] * count)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        async with serving(api.app) as url, asyncio.timeout(PATIENCE):
            host, port = url.removeprefix("http://").split(":")
            await asyncio.get_running_loop().sock_connect(slow, (host, int(port)))
            reader, writer = await asyncio.open_connection(sock=slow, limit=4096)
            content = json.dumps(BODY).encode()
            writer.write(
                b"POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % len(content)
                + content
            )
            await api.worker.until(lambda: api.worker.finished == 1)
            # All has been generated, and the reader has read next to nothing.
            received = await reader.read()
            writer.close()
    assert received.count(b"~") == size * count
    # What it had not read was merged instead of queued.
    assert received.count(b"data: {") < count / 2
    assert b"data: [DONE]" in received


def parsed(body: str) -> list[str]:
    """The data of events, as the standard for them reads a stream."""
    found, data = [], []
    for line in re.split(r"\r\n|\r|\n", body):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            found.append("\n".join(data))
            data = []
    assert not data
    return found


@given(pieces=st.lists(st.text(max_size=5), max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_is_said_a_stream_adds_up_to_it(pieces: list[str]) -> None:
    async def ask(stream: bool) -> str:
        api = Harness(script=lambda _: pieces)
        return (await api.post(COMPLETIONS, prompt="x", stream=stream)).text

    *chunks, done = parsed(asyncio.run(ask(stream=True)))
    assert done == "[DONE]"
    said = "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks)
    assert said == json.loads(asyncio.run(ask(stream=False)))["choices"][0]["text"]
    assert said == "".join(pieces)
