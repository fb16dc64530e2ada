"""Which request runs on which worker, and what becomes of those whose worker dies.

What a worker has said of a request is kept, and another worker goes on after it: outputs are
deterministic, so nothing is lost and nothing is said twice. No processes, clocks or event loops.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from server.pool.records import Record, WorkerLink
from server.pool.router import Router
from server.protocol.messages import Abort, Generate
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task

MOST_DEATHS = 2
"""Of workers that a request may see in a row without a token in between; then it is a suspect."""
POISON = "workers ended again and again while they computed this request; it is not tried again"


class Loss(NamedTuple):
    """How many requests of a lost worker go on, and how many are given up."""

    resumed: int
    failed: int


class Dispatcher:
    """Holds all requests of a model and its ready workers.

    A request that has seen MOST_DEATHS deaths in a row is a suspect: it runs on an idle worker,
    and nothing beside it, until it has a token. If that worker dies as well, it is the poison.
    Where several are suspects, those that have passed wait for the others, and then all go on.
    """

    def __init__(self, slots: int = 32) -> None:
        """A worker computes `slots` requests at once."""
        self.links: list[WorkerLink] = []
        self._slots = slots
        self._takes_background = True
        self._router = Router()
        self._arrived = 0
        # In order of arrival; sets, as it were, so that one can be dropped from the middle.
        self._waiting: dict[Record, None] = {}
        self._suspects: dict[Record, None] = {}

    @property
    def active_requests(self) -> int:
        """Running and waiting ones."""
        waiting = len(self._waiting) + len(self._suspects)
        return waiting + sum(len(link.records) for link in self.links)

    def submit(self, task: Task, put: Callable[[RequestOutput], None], key: str = "") -> Record:
        """Take in a request; `put` gets its outputs, of which the last has a finish reason."""
        record = self._record(task, put, key)
        self._waiting[record] = None
        self._dispatch()
        return record

    def submit_background(self, task: Task, put: Callable[[RequestOutput], None]) -> Record | None:
        """Start what no client waits for on the worker that knows most of it.

        None if that has much to do. It may end with "abort".
        """
        loads = {link.name: len(link.records) for link in self._open_links()}
        if not self._takes_background or self._waiting or self._suspects or not loads:
            return None
        name = self._router.choose(task, loads)
        link = next(link for link in self.links if link.name == name)
        if len(link.records) + len(link.background) >= max(1, self._slots // 2):
            return None
        record = self._record(task, put, "")
        self._send(link, record, link.background)
        return record

    def refuse_background(self) -> None:
        """End what no client waits for, and take no more of it."""
        self._takes_background = False
        for link in self.links:
            link.end_background()

    def drop(self, record: Record) -> None:
        """End a request that has not finished; nothing is put for it any more."""
        if record.link is not None:
            self._withdraw(record)
        self._waiting.pop(record, None)
        self._suspects.pop(record, None)
        self._dispatch()

    def set_asleep(self, record: Record, asleep: bool) -> None:
        """Let nothing be computed for a request for now, or let it go on."""
        record.asleep = asleep
        if record.link is not None:
            record.link.tell_sleep(record)

    def add(self, link: WorkerLink) -> None:
        """A worker is ready."""
        self.links.append(link)
        self._dispatch()

    def lose(self, link: WorkerLink) -> Loss:
        """A worker is gone: its requests go on elsewhere, or wait for a worker."""
        self.links.remove(link)
        self._router.forget(link.name)
        link.lose_background()
        lost = list(link.records.values())
        link.records.clear()
        for record in lost:
            record.link = None
            record.deaths += 1
        failed = lost if len(lost) == 1 and lost[0].deaths >= MOST_DEATHS else []
        for record in failed:
            record.fail(POISON, "poison_request")
        self._queue(lost[len(failed) :])
        self._dispatch()
        return Loss(len(lost) - len(failed), len(failed))

    def deliver(self, link: WorkerLink, outputs: list[RequestOutput]) -> None:
        """Put the outputs of one step, but for those of requests that a worker no longer has."""
        for output in outputs:
            if output.request_id in link.background:
                self._take_in_background(link, output)
            record = link.records.get(output.request_id)
            if record is None:
                continue
            record.emitted += output.token_ids
            record.mu = output.mu
            record.deaths = 0
            record.put(output)
            if output.finish_reason is not None:
                self._release(record)
            elif link.probed is record:
                link.probed = None
                if self._suspects:
                    self._withdraw(record)
                    self._queue([record])
        self._dispatch()

    def fail_waiting(self, error: str) -> None:
        """End those that no worker has."""
        records = [*self._waiting, *self._suspects]
        self._waiting.clear()
        self._suspects.clear()
        for record in records:
            record.fail(error, "engine_error")

    def fail_all(self, error: str) -> None:
        """End every request; the workers are not told, since they are about to end."""
        for link in self.links:
            link.lose_background()
            for record in list(link.records.values()):
                self._release(record)
                self._waiting[record] = None
        self.fail_waiting(error)

    def _dispatch(self) -> None:
        """Send what can be sent."""
        while self._suspects and (idle := self._idle_link()):
            record = next(iter(self._suspects))
            del self._suspects[record]
            idle.probed = record
            idle.end_background()
            self._send(idle, record, idle.records)
        if not self._waiting:
            return
        links = {link.name: link for link in self._open_links()}
        loads = {name: len(link.records) for name, link in links.items()}
        while self._waiting and loads:
            record = next(iter(self._waiting))
            del self._waiting[record]
            name = self._router.choose(record.task, loads, record.key)
            loads[name] += 1
            if loads[name] + len(links[name].background) > self._slots:
                links[name].end_background()
            self._send(links[name], record, links[name].records)

    def _idle_link(self) -> WorkerLink | None:
        return next((link for link in self.links if not link.records), None)

    def _open_links(self) -> list[WorkerLink]:
        """Those that may get more. While suspects wait, one of several is left to become idle."""
        links = [link for link in self.links if link.probed is None]
        if self._suspects and len(links) == len(self.links) > 1:
            links.remove(min(links, key=lambda link: len(link.records)))
        return links

    def _record(self, task: Task, put: Callable[[RequestOutput], None], key: str) -> Record:
        self._arrived += 1
        return Record(self._arrived, task, put, key)

    def _take_in_background(self, link: WorkerLink, output: RequestOutput) -> None:
        record = link.background[output.request_id]
        if output.finish_reason is not None:
            self._release(record)
        record.put(output)

    def _send(self, link: WorkerLink, record: Record, records: dict[str, Record]) -> None:
        record.sendings += 1
        record.link = link
        records[record.request_id] = record
        task = record.task
        if record.emitted:
            ids = record.emitted.copy()
            task = msgspec.structs.replace(task, generated_ids=ids, mu=record.mu)
        link.send(Generate(record.request_id, task))
        if record.asleep and link.probed is not record:
            link.tell_sleep(record)

    def _withdraw(self, record: Record) -> None:
        """Take a request from its worker, which drops it."""
        link = self._release(record)
        link.send(Abort(record.request_id))

    def _release(self, record: Record) -> WorkerLink:
        link = record.link
        assert link is not None
        records = link.records if record.request_id in link.records else link.background
        del records[record.request_id]
        record.link = None
        if link.probed is record:
            link.probed = None
        return link

    def _queue(self, records: list[Record]) -> None:
        """Let requests wait that were sent before: ahead of those that came later."""
        for record in records:
            queue = self._suspects if record.deaths >= MOST_DEATHS else self._waiting
            queue[record] = None
        self._waiting = _in_order(self._waiting)
        self._suspects = _in_order(self._suspects)


def _in_order(records: dict[Record, None]) -> dict[Record, None]:
    return dict.fromkeys(sorted(records, key=lambda record: record.number))
