"""A WebSocket client for tests, which can also do what honest clients do not."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes import PATIENCE

PATH = "/v1/responses"
KEY = base64.b64encode(b"0123456789abcdef").decode()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OFFER = {
    "host": "localhost",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def masked_frame(
    opcode: int, payload: bytes, final: bool = True, mask: bytes = b"\x01\x02\x03\x04"
) -> bytes:
    """A frame of a client; without a mask if there is none."""
    first, size = (0x80 if final else 0) | opcode, len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    key = (mask * (size // 4 + 1))[:size] if mask else bytes(size)
    return head + mask + bytes(a ^ b for a, b in zip(payload, key, strict=True))


class Client:
    """One connection, after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pongs: list[bytes] = []

    async def send(self, message: Any, pieces: int = 1) -> None:
        """A message, in so many frames."""
        data = (message if isinstance(message, str) else json.dumps(message)).encode()
        size = len(data) // pieces + 1
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            self.writer.write(masked_frame(0 if number else 1, part, is_last))
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self.reader.readexactly(2)
            assert first & 0x80, "the server's frames are whole"
            assert not size & 0x80, "and not masked"
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def event(self) -> dict[str, Any]:
        """The next message."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 1:
                event: dict[str, Any] = json.loads(payload)
                return event
            assert opcode in (9, 10), f"closed: {payload!r}"
            if opcode == 10:
                self.pongs.append(payload)

    async def events(self) -> list[dict[str, Any]]:
        """Those up to the end of a response."""
        found = [await self.event()]
        while found[-1]["type"] not in ENDS:
            found.append(await self.event())
        return found

    async def create(self, **body: Any) -> list[dict[str, Any]]:
        """Ask for a response; its events."""
        await self.send({"type": "response.create", "input": "hi"} | body)
        return await self.events()

    async def closed(self) -> int:
        """The code that the server closes with, and nothing but pings before."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                (code,) = struct.unpack(">H", payload[:2])
                payload[2:].decode()
                return int(code)
            assert opcode == 9, payload


async def request(base: str, headers: Mapping[str, str], rest: bytes = b"") -> Client:
    """Send a GET with some headers, and what follows them."""
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + rest)
    return Client(reader, writer)


@asynccontextmanager
async def connected(base: str, rest: bytes = b"", **headers: str) -> AsyncIterator[Client]:
    """A connection whose handshake is done; `rest` is sent with it."""
    client = await request(base, OFFER | headers, rest)
    try:
        async with asyncio.timeout(PATIENCE):
            head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 101 "), head
        digest = hashlib.sha1((KEY + GUID).encode()).digest()
        assert f"sec-websocket-accept: {base64.b64encode(digest).decode().lower()}\r\n" in head
        assert "upgrade: websocket\r\n" in head
        assert "connection: upgrade\r\n" in head
        assert "transfer-encoding" not in head
        assert "x-request-id: " in head
        yield client
    finally:
        client.writer.close()
