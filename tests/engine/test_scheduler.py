"""Continuous batching in simulation: budgets, slots, sleep, and that nobody is lost or starves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.request import Status
from tests.engine.simulation import Simulation

SLOWDOWN, LEAST = 2.5, 8


def test_prompts_are_cut_to_the_budget_and_ride_along_with_decode():
    simulation = Simulation(step_tokens=10)
    simulation.add("a", 3)
    assert simulation.step() == {"a": 3}
    simulation.add("b", 20)
    assert simulation.step() == {"a": 1, "b": 9}
    simulation.add("c", 5)
    assert simulation.step() == {"a": 1, "b": 4, "c": 5}
    assert simulation.step() == {"a": 1, "b": 7, "c": 1}
    assert simulation.step() == {"b": 1, "c": 1}


def test_more_requests_than_slots_wait_in_order():
    simulation = Simulation(max_batch=2, step_tokens=8)
    requests = [simulation.add(name, 2, max_tokens=1) for name in "abc"]
    assert simulation.step() == {"a": 2, "b": 2}
    assert [r.status for r in requests] == [Status.FINISHED, Status.FINISHED, Status.WAITING]
    assert simulation.step() == {"c": 2}
    assert not simulation.scheduler.has_work


def test_every_decoding_request_advances_however_small_the_budget():
    simulation = Simulation(max_batch=8, step_tokens=1)
    for name in "abcdefgh":
        simulation.add(name, 1, max_tokens=9)
    assert simulation.step() == dict.fromkeys("abcdefgh", 1)


@pytest.mark.parametrize("streams", [1, 4, 12])
@pytest.mark.parametrize("speed", [0.02, 1, 50])
def test_a_step_beside_decode_keeps_its_time_whatever_the_machine(speed, streams):
    simulation = Simulation(max_batch=16, step_tokens=256, speed=speed)
    for number in range(streams):
        simulation.add(f"stream {number}", 1, max_tokens=10_000)
    for _ in range(40):
        simulation.step()
    simulation.add("prompt", 4000, max_tokens=1)
    while "prompt" not in simulation.finished:
        simulation.step()
    beside = simulation.chunks[40:]
    assert all(chunks[f"stream {n}"] == 1 for chunks in beside for n in range(streams))
    limit = SLOWDOWN * simulation.seconds(streams)
    # The first steps with prompts teach what their tokens cost.
    learnt = [simulation.seconds(sum(chunks.values())) for chunks in beside[10:-1]]
    assert max(learnt) <= 1.1 * limit
    assert sum(learnt) / len(learnt) >= 0.8 * limit


def test_without_decode_prompts_get_the_whole_step():
    simulation = Simulation(step_tokens=100)
    for name in "ab":
        simulation.add(name, 150)
    assert sum(simulation.step().values()) == 100


def test_steps_may_take_their_least_time_however_fast_decoding_is():
    simulation = Simulation(step_tokens=256, speed=100, step_seconds=0.001)
    simulation.add("stream", 1, max_tokens=10_000)
    for _ in range(40):
        simulation.step()
    simulation.add("prompt", 4000)
    for _ in range(10):
        chunks = simulation.step()
    assert 0.0007 <= simulation.seconds(sum(chunks.values())) <= 0.0011


def test_a_machine_that_becomes_slow_is_noticed_and_one_stall_is_not():
    simulation = Simulation(step_tokens=256)
    simulation.add("stream", 1, max_tokens=10_000)
    for _ in range(40):
        simulation.step()
    simulation.add("prompt", 100_000)
    for _ in range(30):
        usual = simulation.step()["prompt"]
    simulation.speed = 0.01
    simulation.step()
    simulation.speed = 1
    assert simulation.step()["prompt"] <= 1.3 * usual
    simulation.speed = 0.5
    for _ in range(30):
        slow = simulation.step()["prompt"]
    assert 0.6 * usual <= slow <= 1.4 * usual  # the ratio is what counts, and it is the same


def test_a_prompt_advances_on_a_machine_for_which_each_token_is_too_much():
    simulation = Simulation(step_tokens=64)
    simulation.seconds = lambda tokens: 0.001 + 0.01 * tokens
    simulation.add("stream", 1, max_tokens=10_000)
    for _ in range(40):
        simulation.step()
    simulation.add("prompt", 1000)
    for _ in range(60):
        chunks = simulation.step()
    assert chunks == {"stream": 1, "prompt": LEAST}


def test_a_sleeping_request_keeps_its_slot_and_gets_nothing():
    simulation = Simulation(max_batch=2)
    one, _ = simulation.add("a", max_tokens=9), simulation.add("b", max_tokens=4)
    simulation.step()
    simulation.scheduler.sleep(one)
    simulation.scheduler.sleep(one)
    assert simulation.step() == {"b": 1}
    assert one.status is Status.RUNNING
    simulation.run()
    assert "b" in simulation.finished
    assert not simulation.scheduler.has_work
    simulation.scheduler.wake(one)
    assert simulation.step() == {"a": 1}


def test_the_one_that_has_slept_longest_is_parked_when_somebody_waits():
    simulation = Simulation(max_batch=2)
    one, two = simulation.add("a", max_tokens=9), simulation.add("b", max_tokens=9)
    simulation.step()
    simulation.scheduler.sleep(two)
    simulation.scheduler.sleep(one)
    simulation.add("c", max_tokens=2)
    assert simulation.step() == {"c": 4}
    assert (one.status, two.status) == (Status.RUNNING, Status.PARKED)
    simulation.scheduler.wake(two)
    assert simulation.step() == {"b": 1, "c": 1}  # in the slot of the other that sleeps
    assert one.status is Status.PARKED
    simulation.scheduler.wake(one)
    simulation.run()
    assert simulation.finished.keys() == {"a", "b", "c"}
    assert (one.generated, two.generated) == (9, 9)


def test_only_as_many_are_parked_as_there_are_slots():
    simulation = Simulation(max_batch=2)
    sleepers = []
    for number in range(6):
        sleepers.append(simulation.add(f"r{number}", max_tokens=9))
        if simulation.scheduler.has_work:
            simulation.step()
        simulation.scheduler.sleep(sleepers[-1])
    assert not simulation.scheduler.has_work
    begun = [each for each in sleepers if each.begun]
    assert len(begun) == 4
    for each in sleepers:
        simulation.scheduler.wake(each)
    assert len(simulation.run().finished) == 6


def test_a_request_that_sleeps_before_it_is_admitted_takes_no_slot():
    simulation = Simulation(max_batch=1)
    simulation.add("a")
    second = simulation.add("b")
    simulation.scheduler.sleep(second)
    simulation.run()
    assert simulation.finished.keys() == {"a"}
    simulation.scheduler.wake(second)
    assert simulation.run().finished.keys() == {"a", "b"}


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 90), st.sampled_from("xyz"), st.integers(-1, 1)),
        st.tuples(st.sampled_from(["abort", "sleep", "wake"]), st.integers(0, 20)),
        st.tuples(st.just("step"), st.integers(1, 4)),
    ),
    max_size=60,
)


@given(events=EVENTS, max_batch=st.integers(1, 5), step_tokens=st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_whatever_comes_leaves_and_sleeps(events, max_batch, step_tokens):
    simulation = Simulation(max_batch, step_tokens)
    scheduler = simulation.scheduler
    requests, aborted = [], set()
    for kind, *values in events:
        if kind == "add":
            length, tenant, priority = values
            name = f"r{len(requests)}"
            requests.append(simulation.add(name, length, tenant=tenant, priority=priority))
        elif kind == "step":
            for _ in range(values[0]):
                simulation.step()
        elif found := scheduler.get(f"r{values[0]}"):
            {"abort": scheduler.remove, "sleep": scheduler.sleep, "wake": scheduler.wake}[kind](
                found
            )
            if kind == "abort":
                aborted.add(found)
    simulation.run()
    for each in requests:
        assert each.status is Status.FINISHED or each.asleep
        if scheduler.get(each.request_id):
            scheduler.wake(each)
    simulation.run()
    assert len(scheduler.waiting) == len(scheduler.running) == 0
    for each in requests:
        assert each.status is Status.FINISHED
        assert each in aborted or each.generated == 4
