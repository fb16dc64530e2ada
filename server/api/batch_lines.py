"""The lines of batches as requests that this process makes to itself, for whoever owns the batch.

They take the way of any other request, so they can ask for the same and get the same bytes. Two
things differ: interactive requests go first, and what lines hold is counted apart from theirs.
"""

import asyncio

import msgspec
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import Message, Scope

from server.access.admission import Admission
from server.access.keys import Keys
from server.api.bodies.threads import off_loop
from server.api.call import Call, Owner, call_of, state_with
from server.api.choices import TokenCount
from server.api.tenant import LAST_PRIORITY
from server.config import Settings
from server.stores.batches.records import Answer, TokenUse
from server.stores.batches.records import Owner as BatchOwner

_LATER = (429, 503)
"""Statuses that say nothing of the request."""


class BatchLines:
    """Answers lines through the app. Each key has its own limits for them a second time.

    There are no deadlines: whoever waits behind everybody would miss them.
    """

    def __init__(self, app: FastAPI, keys: Keys, settings: Settings) -> None:
        self._app = app
        self._keys = keys
        changes = {
            "max_requests": settings.batch_requests,
            "queue_seconds": 0.0,
            "total_seconds": 0.0,
        }
        self._admission = Admission(settings.limits.model_copy(update=changes))
        self._running: dict[asyncio.Timeout, BatchOwner] = {}
        keys.watch(self._end_revoked)

    async def answer(self, owner: BatchOwner, endpoint: str, body: bytes) -> Answer:
        """POST a body to an endpoint. When this is cancelled the request is aborted.

        So it is when the owner's key is taken back; then the answer is that of a wrong key.
        """
        try:
            async with asyncio.timeout(None) as until_revoked:
                self._running[until_revoked] = owner
                try:
                    return await self._ask(owner, endpoint, body)
                finally:
                    del self._running[until_revoked]
        except TimeoutError:
            if not until_revoked.expired():
                raise
        return await self._ask(owner, endpoint, body)

    async def _ask(self, owner: BatchOwner, endpoint: str, body: bytes) -> Answer:
        response, scope = _Response(body), self._scope(owner, endpoint, len(body))
        await self._app(scope, response.receive, response.send)
        return await off_loop(response.size, response.answer, call_of(scope).tokens)

    def _end_revoked(self) -> None:
        now = asyncio.get_running_loop().time()
        for until_revoked, owner in self._running.items():
            if self._keys.required and self._keys.caller_named(owner.key) is None:
                until_revoked.reschedule(now)

    def _scope(self, owner: BatchOwner, endpoint: str, size: int) -> Scope:
        # Without a caller it is refused where keys are needed: this key was taken back.
        caller = self._keys.caller_named(owner.key)
        priority = LAST_PRIORITY + (max(0, caller.priority) if caller else 0)
        call = Call(admission=self._admission, caller=caller, owner=Owner(owner.tenant, priority))
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": endpoint,
            "raw_path": endpoint.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % size),
            ],
            "client": None,
            "server": None,
            "state": state_with(call),
        }


class _Response:
    """The other end of an ASGI call: gives the body of the request, collects the response."""

    def __init__(self, body: bytes) -> None:
        self._request: bytes | None = body
        self._status = 0
        self._headers = Headers()
        self._chunks: list[bytes] = []

    async def receive(self) -> Message:
        """The whole body, then nothing more: nobody disconnects."""
        if self._request is None:
            await asyncio.Event().wait()
        body, self._request = self._request, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Keep what the app says."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = Headers(raw=message["headers"])
        else:
            self._chunks.append(message.get("body", b""))

    @property
    def size(self) -> int:
        """Bytes of the body that came."""
        return sum(map(len, self._chunks))

    def answer(self, tokens: TokenCount | None) -> Answer:
        """All of it; `tokens` are those of its generation. Not for the event loop: it may be long.

        Raises msgspec.DecodeError for what is not JSON.
        """
        body = b"".join(self._chunks)
        if b"\n" in body:
            body = msgspec.json.format(body, indent=-1)
        tries_again = self._status in _LATER or self._status == 500
        is_final = self._headers.get("x-should-retry") == "false" or not tries_again
        return Answer(
            status_code=self._status,
            request_id=self._headers["x-request-id"],
            body=body,
            tokens=_use_of(tokens) if tokens and self._status == 200 else TokenUse(),
            retry_after=None if is_final else float(self._headers.get("retry-after", 0)),
        )


def _use_of(tokens: TokenCount) -> TokenUse:
    return TokenUse(
        input=tokens.prompt,
        cached=tokens.cached,
        output=tokens.completion,
        reasoning=tokens.reasoning,
    )
