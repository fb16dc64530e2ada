from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.batch import BatchResult
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request, Status
from server.engine.scheduler import Scheduler
from server.engine.task import Task
from server.sampling.params import SamplingParams


def request(name, prompt_length, max_tokens=4):
    return Request(
        name, Task(list(range(prompt_length)), SamplingParams(max_tokens=max_tokens, seed=0))
    )


def advance(scheduler):
    """One step of a model that samples 1 wherever it may; returns name → chunk length."""
    batch = scheduler.schedule()
    sampled = {c.request.request_id: 1 for c in batch.chunks if c.samples}
    finished = [
        c.request
        for c in batch.chunks
        if c.samples and c.request.generated + 1 == c.request.params.max_tokens
    ]
    scheduler.update(batch, BatchResult(sampled), finished)
    return {c.request.request_id: c.length for c in batch.chunks}


def test_prompts_are_cut_to_the_budget_and_ride_along_with_decode():
    scheduler = Scheduler(max_batch=4, step_tokens=10, cache=PrefixCache(None))
    scheduler.add(request("a", 3))
    assert advance(scheduler) == {"a": 3}
    scheduler.add(request("b", 20))
    scheduler.add(request("c", 5))
    assert advance(scheduler) == {"a": 1, "b": 9}
    assert advance(scheduler) == {"a": 1, "b": 9}
    assert advance(scheduler) == {"a": 1, "b": 2, "c": 5}
    assert advance(scheduler) == {"b": 1, "c": 1}


def test_more_requests_than_slots_wait_in_order():
    scheduler = Scheduler(max_batch=2, step_tokens=8, cache=PrefixCache(None))
    requests = [request(name, 2, max_tokens=1) for name in "abc"]
    for each in requests:
        scheduler.add(each)
    assert advance(scheduler) == {"a": 2, "b": 2}
    assert [r.status for r in requests] == [Status.FINISHED, Status.FINISHED, Status.WAITING]
    assert advance(scheduler) == {"c": 2}
    assert not scheduler.has_work


def test_every_decoding_request_advances_however_small_the_budget():
    scheduler = Scheduler(max_batch=8, step_tokens=1, cache=PrefixCache(None))
    for name in "abcdefgh":
        scheduler.add(request(name, 1, max_tokens=9))
    assert advance(scheduler) == dict.fromkeys("abcdefgh", 1)


@given(
    prompts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    max_batch=st.integers(1, 5),
    step_tokens=st.integers(1, 30),
    aborts=st.lists(st.integers(0, 11), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_everything_ends_within_the_budget(prompts, max_batch, step_tokens, aborts):
    scheduler = Scheduler(max_batch, step_tokens, cache=PrefixCache(None))
    requests = [request(f"r{i}", length) for i, length in enumerate(prompts)]
    for each in requests:
        scheduler.add(each)
    for steps in range(1000):
        if not scheduler.has_work:
            break
        if steps < len(aborts) and (found := scheduler.get(f"r{aborts[steps]}")):
            scheduler.remove(found)
            continue
        lengths = advance(scheduler)
        assert lengths
        assert len(lengths) <= max_batch
        assert sum(lengths.values()) <= max(step_tokens, max_batch)
    assert all(each.status is Status.FINISHED for each in requests)
    for each in requests:
        assert each.generated == 4 or f"r{requests.index(each)}" in {f"r{i}" for i in aborts}
