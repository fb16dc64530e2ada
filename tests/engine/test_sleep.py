"""Sleeping, parking and waking change when a request is computed, never what comes out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.protocol.task import Task
from server.state_cache.state_cache import StateCache
from tests.engine.test_engine import PARAMS, PROMPTS, build, params, run


@pytest.fixture(scope="module")
def alone(checkpoint):
    """What each request gives when it has the engine for itself."""
    engine, _ = build(checkpoint)
    results = {}
    for i in range(9):
        engine.add(f"r{i}", Task(PROMPTS[i], PARAMS[i]))
        results |= run(engine)
    return results


def collect(engine, results):
    for output in engine.step():
        ids, text, _ = results.get(output.request_id, ([], "", None))
        news = ids + output.token_ids, text + output.text, output.finish_reason
        results[output.request_id] = news


def finish(engine, results):
    for _ in range(1000):
        if not engine.has_work:
            return
        collect(engine, results)
    raise AssertionError("the engine does not come to an end")


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["sleep", "wake", "step"]), st.integers(0, 8)), max_size=80
    ),
    max_batch=st.integers(1, 4),
    with_cache=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sleeping_and_parking_at_any_moment_changes_no_id(
    checkpoint, alone, events, max_batch, with_cache
):
    cache = StateCache(1 << 20) if with_cache else None
    engine, runner = build(checkpoint, step_tokens=8, max_batch=max_batch, cache=cache)
    for i in range(9):
        engine.add(f"r{i}", Task(PROMPTS[i], PARAMS[i]))
    results = {}
    for event, number in events:
        if event == "sleep":
            engine.sleep(f"r{number}")
        elif event == "wake":
            engine.wake(f"r{number}")
        elif engine.has_work:
            collect(engine, results)
    for i in range(9):
        engine.wake(f"r{i}")
    finish(engine, results)
    assert results == alone
    assert runner.free_slots == max_batch


def test_a_parked_request_is_restored_with_its_penalties(checkpoint, alone):
    engine, runner = build(checkpoint, max_batch=1)
    results = {}
    engine.add("r5", Task(PROMPTS[5], PARAMS[5]))  # with a frequency penalty
    while len(results.get("r5", [[]])[0]) < 6:
        collect(engine, results)
    engine.sleep("r5")
    assert not engine.has_work
    engine.add("r1", Task(PROMPTS[1], PARAMS[1]))
    finish(engine, results)
    assert results["r1"] == alone["r1"]
    assert len(results["r5"][0]) == 6
    engine.wake("r5")
    finish(engine, results)
    assert results["r5"] == alone["r5"]
    assert runner.free_slots == 1


@pytest.mark.parametrize("parked", [False, True])
def test_a_sleeping_request_can_be_aborted(checkpoint, alone, parked):
    engine, runner = build(checkpoint, max_batch=1)
    engine.add("r2", Task(PROMPTS[2], PARAMS[2]))
    for _ in range(5):
        engine.step()
    engine.sleep("r2")
    results = {}
    if parked:
        engine.add("r1", Task(PROMPTS[1], PARAMS[1]))
        finish(engine, results)
    engine.abort("r2")
    engine.wake("r2")
    assert not engine.has_work
    engine.add("r3", Task(PROMPTS[3], PARAMS[3]))
    finish(engine, results)
    assert results["r3"] == alone["r3"]
    assert runner.free_slots == 1


def test_nobody_waits_for_the_prefill_of_one_that_sleeps(checkpoint):
    engine, _ = build(checkpoint, step_tokens=16, cache=StateCache(1 << 20))
    prompt = list(range(1, 121))
    engine.add("first", Task(prompt, params()))
    engine.step()
    engine.add("second", Task(prompt, params()))
    engine.step()
    engine.sleep("first")
    results = {}
    finish(engine, results)
    assert results["second"][2] == "length"
    engine.wake("first")
    finish(engine, results)
    assert results["first"] == results["second"]


def test_the_scheduler_learns_from_the_clock_of_the_engine(checkpoint):
    """Each token of a step takes a second, and what is fixed four."""
    now = [0.0]
    engine, _ = build(checkpoint, step_tokens=32, clock=lambda: now[0])
    forward = engine._runner._model.forward
    lengths = []

    def timed(batch, state):
        lengths.append(len(batch.tokens))
        now[0] += 4 + len(batch.tokens)
        return forward(batch, state)

    engine._runner._model.forward = timed
    engine.add("stream", Task([1], params(max_tokens=400)))
    for _ in range(30):
        engine.step()
    engine.add("prompt", Task([1] * 1500, params()))
    for _ in range(60):
        engine.step()
    # 2.5 × (4 + 1) seconds are 8 tokens; but 8 of prompts are the least, beside one of the stream.
    assert lengths[-1] == 9
