"""One request while it is answered: what its modules know from each other, in one place.

The middleware makes a call of what comes over a socket. Lines of batches, responses that go on in
the background and messages of a WebSocket bring their own along, and take the same way from there.
"""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from fastapi import Request

from server.access.admission import Admission
from server.access.caller import Caller
from server.api.choices import TokenCount
from server.api.responses.connection_memory import ConnectionMemory
from server.api.schemas.usage import Usage
from server.api.websocket.tunnel import Tunnel
from server.sampling.params import SamplingParams
from server.telemetry.request_metrics import Operation, RequestMetrics, RequestRecord

_KEY = "call"


class Owner(NamedTuple):
    """Of a request."""

    tenant: str
    priority: int = 0
    """Requests of a lower one go first."""


@dataclass(frozen=True)
class TracedGeneration:
    """What the engine did for a request."""

    model: str
    """Its id."""
    operation: Operation
    params: SamplingParams
    """Of the first choice."""
    choices: int
    """How many there are to be."""
    records: list[RequestRecord]
    """Of the choices."""


@dataclass(eq=False)
class Call:
    """A request, from its first byte to the last one of its response."""

    started: float = field(default_factory=perf_counter)
    """When it came, by perf_counter()."""
    exits: ExitStack = field(default_factory=ExitStack)
    """What it holds until its response is sent."""
    metrics: RequestMetrics | None = None
    logs_prompts: bool = False
    """Whether the log may have prompts and answers."""
    caller: Caller | None = None
    """Whose key it has, once that is verified, or who has this process ask."""
    admission: Admission | None = None
    """What counts it against the limits."""
    owner: Owner | None = None
    """Whose it is, where that is not told by the caller."""
    shows_rate_limits: bool = False
    """Whether it came to be admitted or refused by them."""
    is_beyond_limit: bool = False
    """Whether its connection is one over http.max_connections."""
    switch: Callable[[], Tunnel] | None = None
    """What takes its connection out of HTTP."""
    connection: ConnectionMemory | None = None
    """That of the WebSocket that it is a message of."""
    begin_response: Callable[[], None] | None = None
    """What such a message calls before its answer begins."""
    body_bytes: int = 0
    """Of its JSON body, as far as it has been read."""
    hold_values: Callable[[int], Awaitable[None]] | None = None
    """What waits for room for so many bytes made of the body."""
    tokens: TokenCount | None = None
    """Of its generation."""
    generation: TracedGeneration | None = None
    trained_length: Callable[[], int] | None = None
    """Gives the model's, if the request goes beyond it; else 0."""
    error_code: str = ""
    """What it is answered with, if that is an error."""


def call_of(scope: Any) -> Call:
    """The call of an ASGI scope (uvicorn has a type of its own for one); made if there is none."""
    state = scope.setdefault("state", {})
    call: Call | None = state.get(_KEY)
    if call is None:
        call = state[_KEY] = Call()
    return call


def state_with(call: Call) -> dict[str, Call]:
    """The `state` of the scope of a request that this process makes to itself."""
    return {_KEY: call}


def tokens_of(request: Request) -> TokenCount:
    """Those of the request's generation, which has begun."""
    tokens = call_of(request.scope).tokens
    assert tokens is not None
    return tokens


def usage_so_far(request: Request) -> Callable[[], Usage]:
    """What gives the tokens of a request's generation at any time."""
    return lambda: tokens_of(request).usage()
