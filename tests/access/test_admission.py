"""Bounds, charges, honest waits and deadlines, on a clock that the test moves."""

from typing import Any

import pytest

from server.access import admission as module
from server.access.admission import Admission, Refusal, RefusalCode
from server.access.caller import ANYBODY, Caller, KeyLimits
from server.config import LimitsSettings
from tests.access.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def admission(clock: FakeClock, **limits: float) -> Admission:
    return Admission(LimitsSettings.model_validate(limits), clock)


def caller(name: str = "alice", **limits: int) -> Caller:
    return Caller(name, "user", KeyLimits(**limits))


def refused(code: RefusalCode, gate: Admission, *request: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        gate.admit(*request)
    assert caught.value.code == code
    return caught.value


def test_all_choices_are_held_together_or_not_at_all(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=5)
    ticket = gate.admit(ANYBODY, [10, 20], 2)
    assert (gate.total.requests, gate.total.waiting, gate.total.queued_tokens) == (4, 4, 30)
    refused("queue_full", gate, ANYBODY, [1], 2)
    assert (gate.total.requests, gate.total.queued_tokens) == (4, 30)
    gate.admit(ANYBODY, [1], 1)
    ticket.close()
    assert (gate.total.requests, gate.total.waiting, gate.total.queued_tokens) == (1, 1, 1)


def test_a_prompt_is_queued_until_one_of_its_choices_has_a_token(clock: FakeClock) -> None:
    gate = admission(clock)
    ticket = gate.admit(ANYBODY, [10, 20], 2)
    ticket.news(3, 1, False)
    assert (gate.total.waiting, gate.total.queued_tokens) == (3, 10)
    ticket.news(2, 1, False)
    assert (gate.total.waiting, gate.total.queued_tokens) == (2, 10)
    ticket.news(0, 1, True)
    assert (gate.total.requests, gate.total.waiting, gate.total.queued_tokens) == (3, 1, 0)


def test_a_key_has_bounds_of_its_own(clock: FakeClock) -> None:
    gate = admission(clock)
    alice, bob = caller(max_requests=2, max_queued_tokens=100), caller("bob")
    gate.admit(alice, [60], 1)
    assert "this key" in str(refused("queue_full", gate, alice, [50], 1))
    gate.admit(bob, [50], 1)
    gate.admit(alice, [40], 1)
    refused("queue_full", gate, alice, [1], 1)
    assert gate.total.requests == 3


def test_what_can_never_be_held_is_told_so(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=3)
    for who, choices in ((ANYBODY, 4), (caller(max_requests=1), 2)):
        assert refused("invalid_value", gate, who, [1], choices).retry_after is None


def test_of_many_only_some_are_held_at_once(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=3)
    alice = caller(max_requests=2)
    for who, at_once, held in ((ANYBODY, 2, 2), (ANYBODY, 9, 3), (alice, 9, 2)):
        ticket = gate.admit(who, [5] * 20, 1, at_once)
        assert (
            (gate.total.requests, gate.total.queued_tokens) == (held, 100) == (ticket.at_once, 100)
        )
        for choice in range(20):
            assert gate.total.requests == min(held, 20 - choice)
            ticket.news(choice, 0, True)
        assert (gate.total.requests, gate.total.queued_tokens) == (0, 0)
        ticket.close()
    assert gate.admit(ANYBODY, [5], 1, at_once=2).at_once == 1


def test_one_that_leaves_half_way_holds_nothing_more(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=3)
    ticket = gate.admit(ANYBODY, [5] * 20, 1, at_once=2)
    ticket.news(0, 0, True)
    ticket.close()
    ticket.news(1, 0, True)
    total = gate.total
    assert (total.requests, total.waiting, total.queued_tokens) == (0, 0, 0)


def test_a_prompt_over_the_bound_is_admitted_when_no_other_waits(clock: FakeClock) -> None:
    gate = admission(clock, max_queued_tokens=100)
    small = gate.admit(ANYBODY, [1], 1)
    refused("queue_full", gate, ANYBODY, [500], 1)
    small.news(0, 1, False)
    gate.admit(ANYBODY, [500], 1)
    refused("queue_full", gate, ANYBODY, [2], 1)


def test_the_wait_for_room_is_measured(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=10)
    tickets = [gate.admit(ANYBODY, [100], 1) for _ in range(10)]
    for ticket in tickets[:4]:  # one every two seconds
        clock.now += 2
        ticket.news(0, 1, True)
        gate.admit(ANYBODY, [100], 1)
    # Ten wait, of which one ends every two seconds.
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == pytest.approx(20, rel=0.1)


def test_the_wait_for_prompts_is_measured(clock: FakeClock) -> None:
    gate = admission(clock, max_queued_tokens=1000)
    tickets = [gate.admit(ANYBODY, [100], 1) for _ in range(10)]
    for ticket in tickets[:2]:  # 50 tokens a second
        clock.now += 2
        ticket.news(0, 1, False)
    wait = refused("queue_full", gate, ANYBODY, [300], 1).retry_after
    assert wait == pytest.approx(800 / 50, rel=0.1)


def test_idle_time_does_not_count_and_old_times_fade(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=10)

    def serve(seconds: float) -> None:
        for _ in range(50):
            ticket = gate.admit(ANYBODY, [1], 1)
            clock.now += seconds
            ticket.news(0, 1, True)

    def wait() -> float:
        tickets = [gate.admit(ANYBODY, [1], 1) for _ in range(10)]
        seconds = refused("queue_full", gate, ANYBODY, [1], 1).retry_after
        for ticket in tickets:
            ticket.close()
        assert seconds is not None
        return seconds

    serve(0.5)
    clock.now += 300
    assert wait() == pytest.approx(5, rel=0.1)
    serve(10)
    assert wait() == pytest.approx(100, rel=0.1)


def test_the_wait_is_between_one_second_and_two_minutes(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=100)
    tickets = [gate.admit(ANYBODY, [1], 1) for _ in range(100)]
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == 5  # nothing is known yet
    clock.now += 30
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == pytest.approx(24, abs=1)
    tickets[0].news(0, 1, True)
    gate.admit(ANYBODY, [1], 1)
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == 120
    for ticket in tickets[1:]:
        ticket.news(0, 1, True)
        gate.admit(ANYBODY, [1], 1).news(0, 1, False)
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == 1


def test_waiting_requests_that_leave_are_no_progress(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=2)
    for _ in range(20):
        ticket = gate.admit(ANYBODY, [1], 2)
        clock.now += 0.1
        ticket.close()
    gate.admit(ANYBODY, [1], 2)
    assert refused("queue_full", gate, ANYBODY, [1], 1).retry_after == 5


def test_requests_and_tokens_a_minute(clock: FakeClock) -> None:
    gate = admission(clock)
    who = caller(requests_per_minute=2, tokens_per_minute=60)
    first = gate.admit(who, [20], 4)
    gate.admit(who, [10], 1)
    assert "2 requests a minute" in str(refused("rate_limit_exceeded", gate, who, [1], 1))
    clock.now += 30
    first.news(0, 80, False)  # into debt: 60 - 30 + 30 - 80
    refusal = refused("rate_limit_exceeded", gate, who, [10], 1)
    assert "60 tokens a minute" in str(refusal)
    assert refusal.retry_after == pytest.approx(30)
    gate.admit(caller("bob", tokens_per_minute=60), [10], 1)
    clock.now += 30
    gate.admit(who, [10], 1)


def test_a_refused_request_costs_nothing(clock: FakeClock) -> None:
    gate = admission(clock, max_requests=1)
    who = caller(requests_per_minute=5, tokens_per_minute=60)
    gate.admit(who, [10], 1)
    before = gate.account(who).headers
    refused("queue_full", gate, who, [10], 1)
    assert gate.account(who).headers == before


def test_what_is_withdrawn_is_given_back(clock: FakeClock) -> None:
    gate = admission(clock)
    who = caller(requests_per_minute=5, tokens_per_minute=60)
    before = gate.account(who).headers
    gate.admit(who, [10], 3).withdraw()
    assert gate.account(who).headers == before
    assert gate.total.requests == gate.total.queued_tokens == 0


def test_limits_that_change_apply_at_once(clock: FakeClock) -> None:
    gate = admission(clock)
    ticket = gate.admit(caller(), [10], 1)
    refused("queue_full", gate, caller(max_requests=1), [1], 1)
    gate.admit(caller(requests_per_minute=1), [1], 1)
    refused("rate_limit_exceeded", gate, caller(requests_per_minute=1), [1], 1)
    gate.admit(caller(), [1], 1)
    assert gate.account(caller()).headers == {}
    ticket.news(0, 1, True)


def test_accounts_of_names_that_are_gone_are_forgotten(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ACCOUNTS", 10)
    gate = admission(clock)
    held = gate.admit(caller("held", max_requests=1), [1], 1)
    for number in range(100):
        gate.admit(caller(f"name{number}"), [1], 1).close()
        assert len(gate._accounts) <= 10
    refused("queue_full", gate, caller("held", max_requests=1), [1], 1)
    held.close()


def test_deadlines(clock: FakeClock) -> None:
    gate = admission(clock, queue_seconds=5, total_seconds=20)
    ticket = gate.admit(ANYBODY, [1], 2)
    assert ticket.seconds_left == 5
    queue = ticket.overdue()
    assert (queue.code, queue.retry_after) == ("queue_timeout", 5)
    clock.now += 2
    ticket.news(0, 1, False)
    assert ticket.seconds_left == 18
    total = ticket.overdue()
    assert (total.code, total.retry_after) == ("deadline_exceeded", None)
    clock.now += 18
    assert ticket.seconds_left == 0
    unbounded = admission(clock, queue_seconds=0).admit(ANYBODY, [1], 1)
    assert unbounded.seconds_left == float("inf")


def test_long_prompts_do_not_keep_short_ones_out(clock: FakeClock) -> None:
    gate = admission(clock, max_queued_tokens=1000)
    bob = caller("bob")
    long = gate.admit(caller(), [5000], 1)
    refused("queue_full", gate, bob, [11], 1)
    short = [gate.admit(bob, [10], 1) for _ in range(25)]
    refused("queue_full", gate, bob, [1], 1)  # their own room is full
    short.pop().close()
    short.append(gate.admit(bob, [10], 1))
    for ticket in (long, *short):
        ticket.close()
    assert gate.total.queued_tokens == gate.short.queued_tokens == 0
