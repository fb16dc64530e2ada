import sys
from typing import NamedTuple

import numpy as np

from server.kernels.borrow import borrowed
from server.kernels.jit import kernel


class Inner(NamedTuple):
    values: np.ndarray


class Outer(NamedTuple):
    inner: Inner
    counts: np.ndarray


@kernel
def _fill(outer):
    mine = borrowed(outer)
    for row in range(mine.inner.values.shape[0]):
        part = mine.inner.values[row, 1:3]
        part[:] = row
    mine.counts[0] += 1


def test_borrowed_arrays_are_the_same_memory_and_are_not_counted():
    outer = Outer(Inner(np.zeros((3, 4), dtype=np.float32)), np.zeros(1, dtype=np.int64))
    before = sys.getrefcount(outer.inner.values), sys.getrefcount(outer.counts)
    for _ in range(100):
        _fill(outer)
    assert (sys.getrefcount(outer.inner.values), sys.getrefcount(outer.counts)) == before
    np.testing.assert_array_equal(outer.inner.values, [[0] * 4, [0, 1, 1, 0], [0, 2, 2, 0]])
    assert outer.counts[0] == 100
