"""Bodies in pieces: the connection holds one that nobody reads, and others go on between them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.json_pieces import PIECE_BYTES, encode_pieces, grouped


async def send_body(send: Send, part: bytes, is_last: bool = False) -> None:
    """Send part of a body, if it is not empty, or the last."""
    if part or is_last:
        await send({"type": "http.response.body", "body": part, "more_body": not is_last})


async def send_pieces(send: Send, pieces: Iterable[bytes], is_last: bool = False) -> None:
    """Send part of a body that may be long; others go on between its pieces."""
    held = b""
    for group in grouped(pieces):
        if held:
            await send_body(send, held)
            await asyncio.sleep(0)
        held = group
    await send_body(send, held, is_last)


async def send_in_pieces(send: Send, message: Message) -> None:
    """Send a message; a body that is too long for one as several."""
    body = message.get("body", b"")
    if len(body) > PIECE_BYTES:
        *starts, last = range(0, len(body), PIECE_BYTES)
        for start in starts:
            piece = body[start : start + PIECE_BYTES]
            await send({"type": message["type"], "body": piece, "more_body": True})
            await asyncio.sleep(0)
        message = {**message, "body": body[last:]}
    await send(message)


class JsonResponse(Response):
    """An answer that may be long, as JSON."""

    media_type = "application/json"

    def __init__(self, content: object, headers: Mapping[str, str] | None = None) -> None:
        """`content` is what encode_pieces() takes."""
        self._pieces: Sequence[bytes] = encode_pieces(content)
        length = str(sum(map(len, self._pieces)))
        super().__init__(headers={**(headers or {}), "content-length": length})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send_pieces(send, self._pieces, is_last=True)
