"""The clients of chaos.py: those whose answers are compared, and those that leave at random."""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SEQUEL = {"prompt": " And then", "max_tokens": 20, "temperature": 0}
"""Asked of every state that an answer has saved."""
STORY = "The sea – 海 – was calm, and the boats lay still. "
RECEIVE_BYTES = 4096  # so that little of a stream fits into the sockets of a slow reader
LINGER_SECONDS = 4.0

Request = tuple[str, dict[str, Any]]


class Refused(Exception):
    """The server answered with an error; `kind` is its status and code."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Answer:
    """What must be the same however often it is asked for."""

    texts: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    sequel: str = ""
    """What goes on from the state that it saved."""
    state_id: str = field(default="", compare=False)
    longest_pause: float = field(default=0.0, compare=False)
    """Seconds between two of its events."""

    def take_in(self, content: dict[str, Any]) -> None:
        """Add a chunk, or a whole answer. Raises Refused for an error."""
        if "error" in content:
            raise Refused(f"in a stream: {content['error']['code']}")
        self.usage = content.get("usage") or self.usage
        # A worker that took over may or may not have had the prompt in its cache.
        self.usage.pop("prompt_tokens_details", None)
        self.state_id = content.get("state_id") or self.state_id
        for choice in content["choices"]:
            message = choice.get("message", choice.get("delta", {}))
            text = choice.get("text") or message.get("content") or ""
            index = choice["index"]
            self.texts[index] = self.texts.get(index, "") + text
            self.reasons[index] = choice["finish_reason"] or self.reasons.get(index, "")


def catalogue(count: int, state_id: str) -> list[Request]:
    """Different requests to both endpoints, each with a seed; some go on from a state."""
    requests = []
    for number in range(count):
        body: dict[str, Any] = {
            "seed": number,
            "stream": number % 6 != 5,
            "n": 2 if number % 5 == 2 else 1,
            "max_tokens": 40 + 61 * number % 260,
            "temperature": (1.3, 0.8, 0)[number % 3],
            "frequency_penalty": (0, 0.4)[number % 2],
            "no_cache": number % 7 == 3,
            "ignore_eos": True,
        }
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        if number % 4 == 3 and body["n"] == 1:
            body["save_state"] = True
        text = STORY * (1 + number**2 % 40) + f"Day {number}:"  # they share prefixes
        if number % 2:
            requests.append((CHAT, body | {"messages": [{"role": "user", "content": text}]}))
        else:
            base = {"state_id": state_id} if number % 8 == 4 else {}
            requests.append((COMPLETIONS, body | base | {"prompt": text}))
    return requests


async def ask(http: httpx.AsyncClient, request: Request, pause: float = 0.0) -> Answer:
    """The answer, and what follows it if it saved a state. A slow reader pauses at every event.

    Raises Refused, and httpx.TransportError when the connection was cut before there was an answer.
    """
    path, body = request
    answer = Answer()
    if body["stream"]:
        async with http.stream("POST", path, json=body) as reply:
            await _check(reply)
            try:
                await _read(reply, answer, pause)
            except httpx.TransportError as error:
                raise Refused(f"in a stream: {type(error).__name__}") from None
    else:
        reply = await http.post(path, json=body)
        await _check(reply)
        answer.take_in(reply.json())
    if answer.state_id:
        await _follow_up(http, answer)
    return answer


async def _read(reply: httpx.Response, answer: Answer, pause: float) -> None:
    """Take in a whole stream."""
    last, event = time.monotonic(), ""
    async for event in _events(reply):
        answer.longest_pause = max(answer.longest_pause, time.monotonic() - last)
        if event != "[DONE]":
            answer.take_in(json.loads(event))
        await asyncio.sleep(pause)
        last = time.monotonic()
    if event != "[DONE]":
        raise Refused("in a stream: no [DONE]")


async def _follow_up(http: httpx.AsyncClient, answer: Answer) -> None:
    """Go on from the state of an answer, and remove it."""
    reply = await http.post(COMPLETIONS, json={**SEQUEL, "state_id": answer.state_id})
    await _check(reply)
    answer.sequel = reply.json()["choices"][0]["text"]
    await _check(await http.delete(f"/v1/states/{answer.state_id}"))


async def _events(reply: httpx.Response) -> AsyncIterator[str]:
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


async def _check(reply: httpx.Response) -> None:
    if reply.status_code != httpx.codes.OK:
        await reply.aread()
        raise Refused(f"{reply.status_code} {reply.json()['error']['code']}")


class Leavers:
    """Clients that connect and leave at random: before they have asked, or in the middle."""

    def __init__(self, url: str, seed: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = host, int(port)
        self._rng = random.Random(seed)
        self.statuses: Counter[str] = Counter()
        """How often each status was seen; "none" of those that did not wait for it."""

    async def run(self, seconds: float) -> None:
        """One of them, again and again, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._rng.uniform(0, 2 * LINGER_SECONDS))
            with contextlib.suppress(OSError):  # the server may cut the connection as well
                await self._visit()

    async def _visit(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        with connection:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, self._address)
            request = self._request()
            sent = self._rng.choice([0, len(request) // 2, *[len(request)] * 6])
            await loop.sock_sendall(connection, request[:sent])
            wait = self._rng.uniform(0, LINGER_SECONDS)
            status = "none"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    status = (await loop.sock_recv(connection, 64)).decode()[9:12] or "none"
                    # Some never read again; the others read a little now and then.
                    await asyncio.sleep(self._rng.choice([0, wait]))
                    while await loop.sock_recv(connection, 1024):
                        await asyncio.sleep(self._rng.uniform(0, 0.2))
            self.statuses[status] += 1

    def _request(self) -> bytes:
        body = {
            "prompt": STORY * self._rng.randrange(1, 20) + str(self._rng.random()),
            "max_tokens": self._rng.randrange(1, 400),
            "n": self._rng.choice([1, 1, 1, 3]),
            "ignore_eos": True,
            "stream": self._rng.random() < 0.8,
        }
        content = json.dumps(body).encode()
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\n"
        head += "content-type: application/json\r\n"
        return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
