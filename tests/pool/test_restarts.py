"""Delays and crash loops, by a clock that stands still."""

import pytest

from server.pool.restarts import HEALTHY_SECONDS, LOOP_DEATHS, PROGRESS_TOKENS, Restarts
from server.protocol.outputs import RequestOutput


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_delays_grow_up_to_half_a_minute(clock):
    restarts = Restarts(2, clock)
    assert [restarts.died(0) for _ in range(9)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert restarts.died(1) == 0
    assert [restarts.died(0) for _ in range(2000)] == [30] * 2000


def test_a_worker_that_was_ready_for_a_while_is_started_at_once(clock):
    restarts = Restarts(1, clock)
    for _ in range(20):
        restarts.became_ready(0)
        clock.now += HEALTHY_SECONDS
        assert restarts.died(0) == 0
    assert not restarts.looping


def test_the_delay_grows_only_with_deaths_in_a_short_time(clock):
    restarts = Restarts(1, clock)
    assert [restarts.died(0) for _ in range(3)] == [0, 1, 2]
    restarts.became_ready(0)
    clock.now += HEALTHY_SECONDS - 1
    assert restarts.died(0) == 4
    clock.now += 1000  # it does not live
    assert restarts.died(0) == 8
    restarts.became_ready(0)
    clock.now += HEALTHY_SECONDS
    assert [restarts.died(0) for _ in range(3)] == [0, 1, 2]


def test_many_deaths_are_a_loop_until_a_worker_lives(clock):
    restarts = Restarts(2, clock)
    for _ in range(LOOP_DEATHS - 1):
        restarts.died(0)
        clock.now += 1
    assert not restarts.looping
    restarts.died(1)
    assert restarts.looping
    clock.now += 1000
    assert restarts.looping
    restarts.became_ready(1)
    clock.now += HEALTHY_SECONDS - 1
    assert restarts.looping
    clock.now += 1
    assert not restarts.looping
    restarts.died(1)
    assert not restarts.looping


def test_deaths_that_are_long_ago_do_not_count(clock):
    restarts = Restarts(1, clock)
    for _ in range(20):
        restarts.died(0)
        clock.now += 16
        assert not restarts.looping


def test_where_another_worker_lives_there_is_no_loop(clock):
    restarts = Restarts(2, clock)
    restarts.became_ready(1)
    clock.now += HEALTHY_SECONDS
    for _ in range(20):
        restarts.died(0)
        assert not restarts.looping


def test_deaths_by_a_request_that_was_found_are_forgiven(clock):
    restarts = Restarts(1, clock)
    for _ in range(5):
        assert [restarts.died(0) for _ in range(3)] == [0, 1, 2]
        restarts.forgive()
    assert not restarts.looping


def outputs(tokens, reason=None):
    return [RequestOutput("r", "", [1] * tokens, reason)]


@pytest.mark.parametrize("last", [outputs(1), outputs(0, "stop"), outputs(0, "length")])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_that_are_killed_under_load_are_no_loop_and_come_back_soon(clock, last, workers):
    restarts = Restarts(workers, clock)
    for kill in range(200):
        index = kill % workers
        restarts.became_ready(index)
        restarts.computed(index, outputs(PROGRESS_TOKENS - 1))
        restarts.computed(index, last)
        clock.now += 1
        assert restarts.died(index) <= 1
        assert not restarts.looping
    assert restarts.deaths(0) >= 66


def test_a_few_tokens_or_an_error_are_no_progress(clock):
    restarts = Restarts(2, clock)
    for _ in range(LOOP_DEATHS):
        assert not restarts.looping
        restarts.became_ready(0)
        restarts.computed(0, outputs(PROGRESS_TOKENS - 1))
        restarts.computed(0, outputs(0, "error") + outputs(0, "abort"))
        clock.now += 1
        restarts.died(0)
    assert restarts.looping


def test_what_a_worker_computed_before_it_died_is_not_its_successors(clock):
    restarts = Restarts(1, clock)
    restarts.became_ready(0)
    restarts.computed(0, outputs(1000))
    restarts.died(0)
    for _ in range(LOOP_DEATHS):  # none gets ready
        assert not restarts.looping
        restarts.died(0)
    assert restarts.looping


def test_a_loop_ends_when_a_worker_brings_requests_forward(clock):
    restarts = Restarts(2, clock)
    for _ in range(LOOP_DEATHS):
        restarts.died(0)
    restarts.became_ready(1)
    assert restarts.looping
    restarts.computed(1, outputs(PROGRESS_TOKENS))
    assert not restarts.looping
    for _ in range(20):
        restarts.died(0)
        assert not restarts.looping


def test_progress_between_deaths_is_the_end_of_what_began_before(clock):
    restarts = Restarts(1, clock)
    for _ in range(10):
        for _ in range(LOOP_DEATHS - 1):
            restarts.died(0)
        restarts.became_ready(0)
        restarts.computed(0, outputs(PROGRESS_TOKENS))
        restarts.died(0)
        assert not restarts.looping
