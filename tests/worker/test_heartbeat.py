"""Signs of life in a thread of their own."""

import threading

import pytest

from server.worker.heartbeat import heartbeat
from tests.fakes import PATIENCE


def test_it_beats_while_the_context_lasts_and_not_after():
    twice, beats = threading.Event(), []

    def beat():
        beats.append(threading.current_thread())
        if len(beats) == 2:
            twice.set()

    with heartbeat(beat, 0.001):
        assert twice.wait(PATIENCE)
    assert not beats[0].is_alive()


def test_it_ends_with_an_error_too():
    before = threading.active_count()
    with pytest.raises(ValueError, match="out of luck"), heartbeat(lambda: None):
        raise ValueError("out of luck")
    assert threading.active_count() == before
