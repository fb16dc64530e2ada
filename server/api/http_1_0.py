"""Answers to clients of HTTP/1.0, which know no chunks: the end of the connection ends a body."""

import sys
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_WITHOUT_BODY = (204, 304)


def end_by_closing(cycle: RequestResponseCycle) -> None:
    """Send the body of a response without a length as it is.

    Uvicorn closes the connection after each answer to such a client, but sends chunks. Nor is
    there a "100 Continue" for one.
    """
    send = cycle.send
    cycle.waiting_for_100_continue = False
    has_length = True

    async def send_without_chunks(event: "ASGISendEvent") -> None:
        nonlocal has_length
        if event["type"] == "http.response.start":
            names = {name.lower() for name, _ in event.get("headers", ())}
            has_length = b"content-length" in names or event["status"] in _WITHOUT_BODY
            if not has_length:
                cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        elif event["type"] == "http.response.body" and not (has_length or event.get("more_body")):
            cycle.expected_content_length = len(event.get("body", b""))
        await send(event)

    cycle.send = send_without_chunks  # type: ignore[method-assign, assignment]
