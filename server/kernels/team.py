"""A team of threads that enter the same kernel together (SPMD) and meet at barriers.

The threads are parked between runs and spin only inside one, where the next phase is microseconds
away. They yield after a bounded spin, because containers often have fewer cores than they show.
"""

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import intrinsic, kernel

# Two counters, each alone in a 64-byte cache line, so that waiting does not disturb arriving.
_ARRIVED, _GENERATION, _SIZE = 0, 16, 32
_SPINS_BEFORE_YIELD = 2000


@intrinsic
def _atomic_add(typing: Any, address: Any, value: Any):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _atomic_load(typing: Any, address: Any):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _atomic_store(typing: Any, address: Any, value: Any):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _yield_core(typing: Any):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@kernel
def barrier(team, threads):
    """Wait until all `threads` threads have called this with the same `team` (int64 [32])."""
    if threads == 1:
        return
    arrived = team.ctypes.data + 8 * _ARRIVED
    generation = team.ctypes.data + 8 * _GENERATION
    current = _atomic_load(generation)
    if _atomic_add(arrived, 1) == threads - 1:
        _atomic_store(arrived, 0)
        _atomic_add(generation, 1)
        return
    spins = 0
    while _atomic_load(generation) == current:
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _yield_core()


@kernel
def share(thread, threads, items):
    """The part [begin, end) of `items` that belongs to `thread`."""
    return thread * items // threads, (thread + 1) * items // threads


def compile_for(function: Any, *args: Any) -> None:
    """Compile or load what Team.run(function, *args) runs, without running it."""
    meeting = np.zeros(_SIZE, dtype=np.int64)
    function.compile(tuple(numba.typeof(arg) for arg in (meeting, 0, 1, *args)))


class Team:
    """`threads` threads, of which the caller of run() is the first. Not re-entrant."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._meeting = np.zeros(_SIZE, dtype=np.int64)
        self._job: tuple[Callable[..., None], tuple[Any, ...]] | None = None
        self._error: BaseException | None = None
        # Plain locks as binary semaphores: several times faster than threading.Semaphore.
        self._start = [_closed_lock() for _ in range(threads - 1)]
        self._done = [_closed_lock() for _ in range(threads - 1)]
        for index in range(1, threads):
            name = f"team-{index}"
            threading.Thread(target=self._work, args=(index,), name=name, daemon=True).start()

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call function(team, thread, threads, *args) on every thread; wait until all ended."""
        self._job = (function, args)
        for start in self._start:
            start.release()
        try:
            function(self._meeting, 0, self.threads, *args)
        finally:
            for done in self._done:
                done.acquire()
            self._job = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """End the threads."""
        self._job = None
        for start in self._start:
            start.release()
        self._start, self._done = [], []

    def _work(self, index: int) -> None:
        start, done = self._start[index - 1], self._done[index - 1]
        while True:
            start.acquire()
            if self._job is None:
                return
            function, args = self._job
            try:
                function(self._meeting, index, self.threads, *args)
            except BaseException as error:
                self._error = error
            finally:
                del args  # or what they belong to would stay in memory until the next run
                done.release()


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock
