"""Which outputs a worker sends at once, and which it merges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.outputs import RequestOutput
from server.worker.outbox import Outbox


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def token(ident, number, finish_reason=None):
    return RequestOutput(ident, f"{number} ", [number], finish_reason)


def ids(outputs):
    return {output.request_id: output.token_ids for output in outputs}


def test_first_tokens_and_ends_are_never_held(clock):
    outbox = Outbox(10, clock)
    assert ids(outbox.pass_on([token("a", 1), token("b", 1)])) == {"a": [1], "b": [1]}
    assert ids(outbox.pass_on([token("a", 2), token("b", 2)])) == {}
    assert ids(outbox.pass_on([token("a", 3, "stop"), token("c", 1)])) == {"a": [2, 3], "c": [1]}


def test_what_is_held_leaves_as_often_as_the_bound_allows(clock):
    outbox = Outbox(10, clock)
    outbox.pass_on([token("a", 1), token("b", 1)])
    clock.seconds += 0.15  # 0.2 s for two streams
    assert not outbox.pass_on([token("a", 2)])
    clock.seconds += 0.06
    assert ids(outbox.pass_on([token("b", 2)])) == {"a": [2], "b": [2]}
    assert not outbox.pass_on([token("b", 3)])


def test_few_tokens_are_not_held(clock):
    outbox = Outbox(10, clock)
    for number in range(5):
        clock.seconds += 0.11
        assert ids(outbox.pass_on([token("a", number)])) == {"a": [number]}


def test_without_a_bound_nothing_is_held(clock):
    outbox = Outbox(0, clock)
    for number in range(5):
        assert ids(outbox.pass_on([token("a", number)])) == {"a": [number]}


def test_of_aborted_requests_nothing_is_left(clock):
    outbox = Outbox(10, clock)
    outbox.pass_on([token("a", 1), token("b", 1)])
    outbox.pass_on([token("a", 2), token("b", 2)])
    outbox.forget("a")
    assert ids(outbox.empty()) == {"b": [2]}
    clock.seconds += 0.11  # one stream now
    assert ids(outbox.pass_on([token("b", 3)])) == {"b": [3]}


STEPS = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abc"), min_size=1),
        st.floats(0, 0.5),
    ),
    max_size=30,
)


@given(steps=STEPS, per_second=st.integers(0, 20))
def test_nothing_is_lost_doubled_or_out_of_order(steps, per_second):
    clock = Clock()
    outbox, said, expected = Outbox(per_second, clock), {}, {}
    for number, (names, seconds) in enumerate(steps):
        clock.seconds += seconds
        outputs = [token(name, number) for name in sorted(names)]
        for output in outputs:
            expected.setdefault(output.request_id, []).append(number)
        for output in outbox.pass_on(outputs):
            said.setdefault(output.request_id, []).extend(output.token_ids)
    for output in outbox.empty():
        said.setdefault(output.request_id, []).extend(output.token_ids)
    assert said == expected
