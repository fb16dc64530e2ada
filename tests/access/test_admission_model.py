"""Admission under any order of events: nothing is held above a bound, or for ever."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.access.admission import Refusal, Ticket
from server.access.caller import Caller, KeyLimits
from tests.access.fake_clock import FakeClock
from tests.access.test_admission import admission

NAMES = ("", "alice", "bob")
LIMITS = {
    "": KeyLimits(),
    "alice": KeyLimits(max_requests=4, max_queued_tokens=50),
    "bob": KeyLimits(max_requests=6, tokens_per_minute=100, requests_per_minute=20),
}


class Requests(RuleBasedStateMachine):
    """Requests that come, go on, finish, fail and leave, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.gate = admission(self.clock, max_requests=8, max_queued_tokens=80)
        self.open: list[tuple[str, Ticket, list[int], int]] = []

    @rule(
        name=st.sampled_from(NAMES),
        prompts=st.lists(st.integers(0, 60), min_size=1, max_size=3),
        choices=st.integers(1, 3),
        at_once=st.none() | st.integers(1, 9),
    )
    def comes(self, name: str, prompts: list[int], choices: int, at_once: int | None) -> None:
        caller = Caller(name, "user", LIMITS[name])
        try:
            ticket = self.gate.admit(caller, prompts, choices, at_once)
        except Refusal as error:
            known = error.retry_after
            self.refused(error, known)
        else:
            self.open.append((name, ticket, prompts, choices))

    def refused(self, error: Refusal, wait: float | None) -> None:
        assert error.code in ("invalid_value", "queue_full", "rate_limit_exceeded")
        assert (wait is None) == (error.code == "invalid_value")
        assert wait is None or wait > 0
        assert error.code != "queue_full" or (wait is not None and 1 <= wait <= 120)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 50), is_finished=st.booleans())
    def goes_on(self, data: st.DataObject, tokens: int, is_finished: bool) -> None:
        _, ticket, prompts, choices = data.draw(st.sampled_from(self.open))
        choice = data.draw(st.integers(0, len(prompts) * choices - 1))
        ticket.news(choice, tokens, is_finished)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), withdraw=st.booleans(), again=st.booleans())
    def leaves(self, data: st.DataObject, withdraw: bool, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.open) - 1))
        ticket = self.open.pop(number)[1]
        if withdraw:
            ticket.withdraw()
        else:
            ticket.close()
        if again:
            ticket.close()

    @rule(seconds=st.floats(0, 100))
    def waits(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def counts_are_within_bounds(self) -> None:
        loads = {name: self.gate.account(Caller(name, "user", LIMITS[name])).load for name in NAMES}
        bounds = {
            name: (LIMITS[name].max_requests, LIMITS[name].max_queued_tokens) for name in NAMES
        }
        for load, (requests, tokens) in [
            (self.gate.total, (8, 80)),
            *((loads[name], bounds[name]) for name in NAMES),
        ]:
            assert 0 <= load.waiting <= load.requests
            assert load.requests <= (requests or 8)
            # A single one may be larger than the bound.
            assert 0 <= load.queued_tokens <= max(tokens or 80, 180)
        assert sum(load.requests for load in loads.values()) == self.gate.total.requests
        assert sum(load.queued_tokens for load in loads.values()) == self.gate.total.queued_tokens

    def teardown(self) -> None:
        for _, ticket, *_ in self.open:
            ticket.close()
        total = self.gate.total
        assert (total.requests, total.waiting, total.queued_tokens) == (0, 0, 0)


Requests.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestRequests = Requests.TestCase
