"""Nobody starves: simulations of who gets slots and whose prompts are read, with stated bounds."""

import tracemalloc
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.prefix_cache import PrefixCache
from tests.engine.simulation import Simulation


class Blocking(PrefixCache):
    """Requests whose name begins with "blocked" wait for another, while `blocks` is set."""

    def __init__(self):
        super().__init__(None)
        self.blocks = True
        self.asked = 0

    def must_wait(self, request, running):
        assert request not in running
        self.asked += 1
        return self.blocks and request.request_id.startswith("blocked")


def test_a_tenant_with_a_thousand_requests_delays_the_first_of_another_by_one_admission():
    simulation = Simulation(max_batch=1)
    for number in range(1000):
        simulation.add(f"many {number}", tenant="many", max_tokens=1)
    for _ in range(5):
        simulation.step()
    for number in range(3):
        simulation.add(f"few {number}", tenant="few", max_tokens=1)
    for _ in range(6):
        simulation.step()
    assert [name.split()[0] for name in simulation.admitted[5:]] == ["many", "few"] * 3


def test_tenants_are_admitted_in_turn_and_each_in_its_order():
    simulation = Simulation(max_batch=1)
    for tenant, requests in (("a", 30), ("b", 20), ("c", 10)):
        for number in range(requests):
            simulation.add(f"{tenant}{number}", tenant=tenant, max_tokens=1)
    simulation.run()
    assert "".join(name[0] for name in simulation.admitted) == "abc" * 10 + "ab" * 10 + "a" * 10
    for tenant in "abc":
        numbers = [int(name[1:]) for name in simulation.admitted if name[0] == tenant]
        assert numbers == sorted(numbers)


def test_lower_priorities_are_admitted_first_but_for_every_fourth_turn():
    simulation = Simulation(max_batch=1)
    for number in range(12):
        simulation.add(f"late{number}", priority=5, max_tokens=1)
    for number in range(12):
        simulation.add(f"soon{number}", priority=-5, max_tokens=1)
    simulation.run()
    assert "".join(name[0] for name in simulation.admitted[:16]) == "sssl" * 4
    assert simulation.admitted[-8:] == [f"late{number}" for number in range(4, 12)]


@given(
    late=st.integers(1, 6),
    tenants=st.integers(1, 5),
    same=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_a_request_is_admitted_within_its_bound_however_many_come_before(late, tenants, same):
    """At most 5 · tenants · its place among its tenant's, while urgent ones never cease to come."""
    simulation = Simulation(max_batch=1)
    numbers = count()

    def keep_coming():
        for tenant in range(1, tenants):
            name = f"urgent {next(numbers)}"
            simulation.add(name, tenant=f"t{tenant}", priority=0 if same else -1, max_tokens=1)

    for _ in range(20):
        keep_coming()
    for number in range(late):
        simulation.add(f"late {number}", tenant="late", max_tokens=1)
    for _ in range(5 * tenants * late):
        keep_coming()
        simulation.step()
    for number in range(late):
        place = simulation.admitted.index(f"late {number}") + 1
        assert place <= (1 if same else 5) * tenants * (number + 1)


def test_requests_that_are_blocked_stall_nobody_and_cost_little():
    cache = Blocking()
    simulation = Simulation(max_batch=4, cache=cache)
    for number in range(500):
        simulation.add(f"blocked {number}", max_tokens=1)
    simulation.add("free", max_tokens=1)
    simulation.add("neighbour", tenant="other", max_tokens=1)
    asked = []
    while "free" not in simulation.finished:
        before = cache.asked
        simulation.step()
        asked.append(cache.asked - before)
    assert "neighbour" in simulation.finished
    assert max(asked) <= 64
    assert len(asked) <= 500 // 32 + 2
    cache.blocks = False
    simulation.run()
    order = [int(name.split()[1]) for name in simulation.admitted if name.startswith("blocked")]
    assert sorted(order) == list(range(500))


def test_short_prompts_pass_a_long_one_and_it_still_gets_its_quarter():
    simulation = Simulation(max_batch=8, step_tokens=64)
    simulation.add("long", 20_000, max_tokens=1)
    simulation.step()
    first = simulation.add("short 0", 50, max_tokens=1)
    simulation.step()
    simulation.step()
    assert first.request_id in simulation.finished
    numbers = count(1)
    # As many short ones as there is room for, for ever: the long one must come to its end.
    while "long" not in simulation.finished and simulation.steps < 5000:
        while len(simulation.scheduler.running) + len(simulation.scheduler.waiting) < 8:
            simulation.add(f"short {next(numbers)}", 200, max_tokens=1)
        simulation.step()
    assert simulation.steps <= 4 * 20_000 / 64 + 5


def test_the_oldest_prompt_is_read_within_its_bound_beside_decode():
    simulation = Simulation(max_batch=8, step_tokens=256)
    simulation.add("stream", 1, max_tokens=100_000)
    simulation.add("long", 3000, max_tokens=1)
    numbers = count()
    while "long" not in simulation.finished and simulation.steps < 5000:
        while len(simulation.scheduler.running) + len(simulation.scheduler.waiting) < 8:
            simulation.add(f"short {next(numbers)}", 20, max_tokens=1)
        simulation.step()
    assert "long" in simulation.finished
    read = sum(sum(chunks.values()) - chunks["stream"] for chunks in simulation.chunks[1:])
    assert read <= 4 * 3000 + 4 * 256


@pytest.mark.parametrize("streams", [0, 1])
def test_tenants_share_the_reading_of_prompts_equally(streams):
    """One with a single prompt gets as much as one with five, within a part in ten."""
    simulation = Simulation(max_batch=8, step_tokens=64)
    if streams:
        simulation.add("stream", 1, max_tokens=100_000, tenant="s")
    for number in range(5):
        simulation.add(f"greedy {number}", 5000, tenant="greedy")
    modest = simulation.add("modest", 4000, tenant="modest")
    while modest.uncomputed > 1:
        simulation.step()
    read = sum(
        length
        for chunks in simulation.chunks
        for name, length in chunks.items()
        if name.startswith("greedy")
    )
    assert 0.9 * 4000 <= read <= 1.1 * 4000


def test_idling_earns_nothing():
    simulation = Simulation(max_batch=8, step_tokens=64)
    simulation.add("a", 50_000, tenant="a")
    for _ in range(300):
        simulation.step()
    simulation.add("b", 5000, tenant="b")
    late = [simulation.step() for _ in range(100)]
    read = {name: sum(chunks.get(name, 0) for chunks in late) for name in "ab"}
    assert read["a"] >= 0.9 * read["b"]


def test_prompts_of_lower_priority_values_are_read_first():
    simulation = Simulation(max_batch=8, step_tokens=64)
    simulation.add("late", 640, priority=1, max_tokens=1)
    simulation.add("soon", 640, priority=0, max_tokens=1, tenant="b")
    simulation.run()
    assert simulation.finished["soon"] <= 4 / 3 * 10 + 1
    assert simulation.finished["late"] == 20


def test_a_thousand_queued_requests_hold_steady_memory():
    """Twice as much coming and going leaves no more behind."""
    simulation = Simulation(max_batch=4)
    numbers = count()

    def churn(rounds):
        for _ in range(rounds):
            while len(simulation.scheduler.waiting) < 1000:
                number = next(numbers)
                simulation.add(
                    f"r{number}", tenant=f"t{number % 7}", priority=number % 3, max_tokens=2
                )
            simulation.step()
            for number in range(next(numbers) - 40, next(numbers), 3):
                if found := simulation.scheduler.get(f"r{number}"):
                    simulation.scheduler.remove(found)
            simulation.admitted.clear()
            simulation.finished.clear()
            simulation.chunks.clear()

    tracemalloc.start()
    try:
        churn(100)
        before, _ = tracemalloc.get_traced_memory()
        churn(200)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after <= 1.1 * before
