"""Delays and crash loops, by a clock that stands still."""

import pytest

from server.workers.restarts import HEALTHY_SECONDS, LOOP_DEATHS, Restarts


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
