"""Everything that crosses a process boundary, as tagged msgpack structs.

API → worker: Generate, Abort, Sleep, Wake, CacheQuery, EngineQuery, Ping, Shutdown.
Worker → API: Progress, Ready, Failed, Outputs, CacheAnswer, EngineAnswer, Pong.
"""

import msgspec

from server.protocol.cache_view import CacheReport
from server.protocol.engine_report import EngineReport
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task


class ModelSpec(msgspec.Struct, frozen=True):
    """Which model a worker computes, and how."""

    id: str
    """Its name in the API."""
    path: str
    """A checkpoint file or folder; empty is the embedded model."""
    tokenizer: str = ""
    dtype: str = "auto"
    states: dict[str, str] = {}
    """Name → file of an initial state."""
    adapters: list[str] = []
    """FILE or FILE:ALPHA, in the order in which they are added to the weights."""
    reasoning: str = "auto"
    """Whether it thinks before it answers: auto, on or off."""
    fill_in_middle: str = "auto"
    """Whether it can fill in the middle: auto, on or off."""
    reranker: str = ""
    """A file that scores the states of an embedding model; empty: none."""


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is told when it starts, as JSON on its standard input."""

    name: str
    """Routing id of the worker's socket."""
    address: str
    """Where the pool listens."""
    threads: int
    cpus: list[int]
    """Those that it may run on; empty: any."""
    cache_bytes: int
    """Of memory for the state cache."""
    model: ModelSpec
    settings: str
    """The settings tree as JSON."""


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Start one request. A worker answers with Outputs until one has a finish reason."""

    request_id: str
    task: Task


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Drop a request at whatever stage it is. It is not answered."""

    request_id: str


class CacheQuery(msgspec.Struct, frozen=True, tag=True):
    """Report on the state cache, and empty it first if asked to; answered with CacheAnswer."""

    query_id: int
    clear: bool = False
    clear_shared: bool = False
    """Also what several nodes share."""


class EngineQuery(msgspec.Struct, frozen=True, tag=True):
    """Report on the engine; answered with EngineAnswer."""

    query_id: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Ask a ready worker whether it still works; it answers with a Pong between two steps."""


class Sleep(msgspec.Struct, frozen=True, tag=True):
    """Compute nothing for a request until Wake. What is on the way still arrives."""

    request_id: str


class Wake(msgspec.Struct, frozen=True, tag=True):
    """Go on with a request; without effect on one that does not sleep."""

    request_id: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """End the worker process."""


class Progress(msgspec.Struct, frozen=True, tag=True):
    """What a starting worker is doing: `done` of `total` (total 0: unknown)."""

    stage: str
    done: int
    total: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker accepts requests."""

    dtype: str
    threads: int
    load_seconds: float
    compile_seconds: float
    cache_bytes: int = 0
    """Of memory for cached states."""
    fingerprint: str = ""
    """What states depend on besides their tokens."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start: one line for the user. It exits after this."""

    error: str


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The answer to a Ping."""


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """News of the last steps, at most one of a request."""

    outputs: list[RequestOutput]


class CacheAnswer(msgspec.Struct, frozen=True, tag=True):
    """The answer to a CacheQuery."""

    query_id: int
    report: CacheReport


class EngineAnswer(msgspec.Struct, frozen=True, tag=True):
    """The answer to an EngineQuery."""

    query_id: int
    report: EngineReport


ToWorker = Generate | Abort | Sleep | Wake | CacheQuery | EngineQuery | Ping | Shutdown
FromWorker = Progress | Ready | Failed | Outputs | CacheAnswer | EngineAnswer | Pong

encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
