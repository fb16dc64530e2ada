"""A dispatcher among deterministic workers that die, and clients that keep what they got."""

from dataclasses import dataclass, field

from server.pool.dispatcher import Dispatcher
from server.pool.records import WorkerLink
from server.protocol.messages import Abort, Generate
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task
from server.sampling.params import SamplingParams

ROWS = 3
"""A worker computes so many requests together; the rest waits in it."""


@dataclass(eq=False)
class Client:
    """What one request asked for and got."""

    seed: int
    tokens: int
    poison_at: int | None = None
    """The position whose computation kills the worker."""
    got: list = field(default_factory=list)
    finish: str | None = None
    code: str = ""
    record: object = None

    @property
    def expected(self):
        return [token_of(self.seed, position) for position in range(self.tokens)]

    def put(self, output):
        assert self.finish is None, "news after the end"
        self.got += output.token_ids
        self.finish = output.finish_reason
        self.code = output.error_code


def token_of(seed, position):
    return (seed * 7919 + position * 104_729) % 1009


class Worker:
    """A deterministic worker: its messages wait in queues, as in a socket."""

    def __init__(self, world, number):
        self.world = world
        self.inbox, self.outbox = [], []
        self.rows = {}
        self.link = WorkerLink(f"w{number}", self.inbox.append)

    def step(self):
        """Take in messages and compute a token of each row; False if that kills it."""
        for message in self.inbox:
            if isinstance(message, Generate):
                assert message.request_id not in self.rows
                self.rows[message.request_id] = (message.task, list(message.task.generated_ids))
            elif isinstance(message, Abort):
                self.rows.pop(message.request_id, None)
        self.inbox.clear()
        batch = []
        for request_id, (task, ids) in list(self.rows.items())[:ROWS]:
            client = self.world.clients[task.prompt_ids[0]]
            if client.poison_at == len(ids):
                return False
            ids.append(token_of(client.seed, len(ids)))
            done = len(ids) == client.tokens
            batch.append(RequestOutput(request_id, "", ids[-1:], "length" if done else None))
            if done:
                del self.rows[request_id]
        if batch:
            self.outbox.append(batch)
        return True


class World:
    """Clients, a dispatcher, and workers that die and are started again."""

    def __init__(self, workers):
        self.dispatcher = Dispatcher()
        self.clients, self.workers = [], []
        self.dead, self.started, self.deaths, self.killed_alone = [], 0, 0, set()
        for _ in range(workers):
            self.start_worker()

    def start_worker(self):
        self.started += 1
        worker = Worker(self, self.started)
        self.workers.append(worker)
        self.dispatcher.add(worker.link)

    def submit(self, tokens, poison_at=None):
        number = len(self.clients)
        client = Client(number, tokens, poison_at)
        self.clients.append(client)
        task = Task([number], SamplingParams(max_tokens=tokens, seed=number))
        client.record = self.dispatcher.submit(task, client.put)
        return client

    def end(self, worker, by_force=True):
        held = list(worker.link.records.values())
        if by_force and len(held) == 1:
            self.killed_alone.add(held[0].number - 1)
        self.workers.remove(worker)
        self.dead.append(worker)
        self.deaths += 1
        return self.dispatcher.lose(worker.link)

    def step(self, worker):
        if not worker.step():
            self.end(worker, by_force=False)

    def receive(self, worker, most=1):
        for _ in range(most):
            if worker.outbox:
                self.dispatcher.deliver(worker.link, worker.outbox.pop(0))

    def check(self):
        for link in self.dispatcher.links:
            if link.probed is not None:
                assert list(link.records.values()) == [link.probed]
        for client in self.clients:
            assert client.got == client.expected[: len(client.got)]

    def run(self, workers):
        """To the end, with dead workers started again at once."""
        for _ in range(3000):
            if all(client.finish for client in self.clients):
                break
            while len(self.workers) < workers:
                self.start_worker()
            for worker in list(self.workers):
                self.receive(worker, 2)
                self.step(worker)
            self.check()
        assert self.dispatcher.active_requests == 0
