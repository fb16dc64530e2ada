import numpy as np
import pytest

from server.kernels.jit import kernel
from server.kernels.team import Team, barrier, share


@kernel
def _rotate_sums(team, thread, threads, values, rounds):
    """Each thread adds its left neighbour's value; without barriers the sums would be wrong."""
    for _ in range(rounds):
        left = values[(thread - 1) % threads]
        barrier(team, threads)
        values[thread] += left
        barrier(team, threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_barriers_keep_threads_in_step(threads):
    team = Team(threads)
    values = np.arange(threads, dtype=np.uint64)
    expected = values.copy()
    for _ in range(3):  # the team can be used again
        team.run(_rotate_sums, values, 40)
        for _ in range(40):
            expected = expected + np.roll(expected, 1)
        np.testing.assert_array_equal(values, expected)
    team.close()


def test_shares_cover_everything_once():
    for items in (0, 1, 5, 16, 33):
        for threads in (1, 2, 3, 8):
            parts = [share(thread, threads, items) for thread in range(threads)]
            covered = [i for begin, end in parts for i in range(begin, end)]
            assert covered == list(range(items))


def test_an_error_in_a_thread_reaches_the_caller_and_the_team_lives_on():
    team = Team(2)

    def fail(_meeting, thread, _threads):
        if thread == 1:
            raise RuntimeError("from the other thread")

    with pytest.raises(RuntimeError, match="other thread"):
        team.run(fail)
    values = np.zeros(2, dtype=np.uint64)
    team.run(_rotate_sums, values, 1)
    team.close()
