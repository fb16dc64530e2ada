"""A fake model under the real scheduler: its steps take the time that a cost says."""

from server.engine.batch import BatchResult
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request, Status
from server.engine.scheduler import Scheduler
from server.protocol.task import Task
from server.sampling.params import SamplingParams

FIXED, PER_TOKEN = 0.0051, 0.00049
"""Seconds, of 0.1B in int8 on two cores."""


def request(name, prompt_length=4, max_tokens=4, tenant="", priority=0):
    params = SamplingParams(max_tokens=max_tokens, seed=0)
    task = Task(list(range(prompt_length)), params, tenant=tenant, priority=priority)
    return Request(name, task)


class Simulation:
    """Every step samples token 1 where it may, and checks what must hold of any step."""

    def __init__(self, max_batch=4, step_tokens=64, speed=1.0, cache=None, **options):
        self.scheduler = Scheduler(max_batch, step_tokens, cache or PrefixCache(None), **options)
        self.max_batch, self.step_tokens, self.speed = max_batch, step_tokens, speed
        self.now = 0.0
        self.steps = 0
        self.chunks = []
        """Name → length, of each step."""
        self.admitted = []
        """Names in the order in which they first got a slot."""
        self.finished = {}
        """Name → number of its last step."""

    def add(self, *arguments, **options):
        added = request(*arguments, **options)
        self.scheduler.add(added)
        return added

    def seconds(self, tokens):
        return (FIXED + PER_TOKEN * tokens) / self.speed

    def step(self):
        """Name → chunk length."""
        scheduler = self.scheduler
        decoding = {r for r in scheduler.running if r.uncomputed <= 1 and not r.asleep}
        batch = scheduler.schedule()
        self._check(batch, decoding)
        sampled = {c.request.request_id: 1 for c in batch.chunks if c.samples}
        done = [
            c.request
            for c in batch.chunks
            if c.samples and c.request.generated + 1 == c.request.params.max_tokens
        ]
        for each in scheduler.running:
            if each.request_id not in self.admitted:
                self.admitted.append(each.request_id)
        scheduler.update(batch, BatchResult(sampled), done)
        seconds = self.seconds(batch.tokens)
        scheduler.observe(batch, seconds)
        self.now += seconds
        self.steps += 1
        self.finished |= {each.request_id: self.steps for each in done}
        self.chunks.append({c.request.request_id: c.length for c in batch.chunks})
        return self.chunks[-1]

    def run(self, most_steps=5000):
        """Until nothing can be done."""
        for _ in range(most_steps):
            if not self.scheduler.has_work:
                return self
            self.step()
        raise AssertionError("the simulation does not come to an end")

    def _check(self, batch, decoding):
        running = self.scheduler.running
        chunks = [chunk.request for chunk in batch.chunks]
        assert len(running) <= self.max_batch
        assert len(set(chunks)) == len(chunks)
        for chunk in batch.chunks:
            assert chunk.request in running
            assert chunk.request.status is Status.RUNNING
            assert not chunk.request.asleep
            assert 0 <= chunk.length <= min(chunk.request.uncomputed, chunk.request.until_stop())
        assert batch.tokens <= max(self.step_tokens, self.max_batch)
        assert decoding <= set(chunks) | set(batch.parked)
        assert all(each.asleep and each not in running for each in batch.parked)
