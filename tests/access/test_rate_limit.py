"""Token buckets, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.rate_limit import TokenBucket, format_duration
from tests.access.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_bucket_begins_full_and_fills_evenly(clock: FakeClock) -> None:
    bucket = TokenBucket(60, clock)
    assert bucket.level == 60
    bucket.use(60)
    assert bucket.seconds_until(1) == pytest.approx(1)
    clock.now += 0.5
    assert bucket.seconds_until(1) == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.seconds_until(1) == pytest.approx(0)
    clock.now += 1000
    assert bucket.level == 60


def test_a_debt_is_waited_for(clock: FakeClock) -> None:
    bucket = TokenBucket(60, clock)
    bucket.use(90)
    assert bucket.level == -30
    assert bucket.seconds_until(1) == pytest.approx(31)
    assert bucket.headers("tokens") == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m30s",
    }


def test_more_than_a_minutes_amount_needs_a_full_bucket(clock: FakeClock) -> None:
    bucket = TokenBucket(60, clock)
    assert bucket.seconds_until(1000) == 0
    bucket.use(6)
    assert bucket.seconds_until(1000) == pytest.approx(6)


def test_what_was_used_stays_used_when_the_amount_changes(clock: FakeClock) -> None:
    bucket = TokenBucket(60, clock)
    bucket.use(50)
    bucket.resize(100)
    assert bucket.level == pytest.approx(50)
    bucket.resize(20)
    assert bucket.level == pytest.approx(-30)


USES = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 100)), max_size=50)


@given(st.integers(1, 1000), USES)
def test_no_stretch_of_time_gives_more_than_burst_and_rate(
    per_minute: int, uses: list[tuple[float, int]]
) -> None:
    clock = FakeClock()
    bucket = TokenBucket(per_minute, clock)
    used, started = 0, clock.now
    for pause, amount in uses:
        clock.now += pause
        if bucket.seconds_until(amount) == 0:
            bucket.use(amount)
            used += amount
        most = per_minute + (clock.now - started) * per_minute / 60
        # One request may be larger than the bucket, and goes into debt.
        assert used <= most + max(0, 100 - per_minute) + 1e-6
        wait = bucket.seconds_until(amount)
        assert 0 <= wait <= 60 + 100 * 60 / per_minute


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_wait_that_is_told_is_enough(per_minute: int, used: int, wanted: int) -> None:
    clock = FakeClock()
    bucket = TokenBucket(per_minute, clock)
    bucket.use(used)
    clock.now += bucket.seconds_until(wanted) + 1e-6
    assert bucket.seconds_until(wanted) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (0.0001, "1ms"),
        (0.017, "17ms"),
        (0.9995, "1s"),
        (1, "1s"),
        (1.2, "2s"),
        (59.5, "1m0s"),
        (360, "6m0s"),
        (3601, "1h0m1s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
