"""A request as the API process keeps it, and a worker that computes some of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from server.protocol.messages import Abort, Sleep, ToWorker, Wake
from server.protocol.outputs import ErrorCode, RequestOutput
from server.protocol.task import Task


@dataclass(eq=False)
class Record:
    """A request until it ends: all that is needed to go on with it on another worker."""

    number: int
    """In the order of arrival."""
    task: Task
    put: Callable[[RequestOutput], None]
    """Takes what it is answered."""
    key: str = ""
    """Of the router."""
    emitted: list[int] = field(default_factory=list)
    """The ids that were put."""
    mu: float | None = None
    """That of mirostat after them."""
    asleep: bool = False
    """Whether its reader cannot keep up."""
    deaths: int = 0
    """Of workers that held it, since its last token."""
    sendings: int = 0
    link: "WorkerLink | None" = None
    """Where it runs; None while it waits."""

    @property
    def request_id(self) -> str:
        """What workers call it; another one with each sending, so that old outputs are known."""
        return f"r{self.number}" if self.sendings < 2 else f"r{self.number}.{self.sendings}"

    def fail(self, error: str, code: ErrorCode) -> None:
        """Answer that it has failed; no worker has it."""
        self.put(RequestOutput(self.request_id, "", [], "error", error, error_code=code))


class WorkerStatus(NamedTuple):
    """A worker as operators see it, whatever process takes its place."""

    name: str
    ready: bool
    restarts: int
    """How often it was started again, or was to be."""
    resident_bytes: int | None
    """None when there is no process, or the system does not tell."""


@dataclass(eq=False)
class WorkerLink:
    """A ready worker: how to send to it, and the requests that it holds, by their ids."""

    name: str
    """Of this process; the one that takes its place has another."""
    send: Callable[[ToWorker], None]
    records: dict[str, Record] = field(default_factory=dict)
    background: dict[str, Record] = field(default_factory=dict)
    """What no client waits for; it gives way to requests, and is lost with the worker."""
    probed: Record | None = None
    """A suspect that runs here alone."""

    def tell_sleep(self, record: Record) -> None:
        """Tell the worker whether a request of its sleeps."""
        self.send(Sleep(record.request_id) if record.asleep else Wake(record.request_id))

    def end_background(self) -> None:
        """Have the worker drop what runs in the background."""
        for request_id in self.background:
            self.send(Abort(request_id))
        self.lose_background()

    def lose_background(self) -> None:
        """The worker no longer computes what ran in the background."""
        for record in self.background.values():
            record.link = None
            record.put(RequestOutput(record.request_id, "", [], "abort"))
        self.background.clear()
