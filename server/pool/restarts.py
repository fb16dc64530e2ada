"""When a worker that has died is started again, and when that leads nowhere."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.protocol.outputs import RequestOutput

LONGEST_DELAY = 30.0
HEALTHY_SECONDS = 10.0
"""A worker that was ready for so long is started again at once, and ends a crash loop."""
LOOP_DEATHS, LOOP_SECONDS = 5, 60.0
"""So many deaths within such a time are a crash loop, if nothing came of the workers' lives."""
PROGRESS_TOKENS = 16
"""A worker that has computed so many tokens, or finished a request, has brought requests forward:
whatever ended it then, they resume elsewhere, and refusing others would lose more than it saves."""


@dataclass
class _Worker:
    failures: int = 0
    """In a row, with less than HEALTHY_SECONDS of readiness before each but the first."""
    deaths: int = 0
    """In all."""
    ready_since: float | None = None
    tokens: int = 0
    """Computed since then."""


class Restarts:
    """Delays of 0, 1, 2, 4, … LONGEST_DELAY seconds for each worker, and the crash loops of all.

    They begin again with 0 when the worker that died had been healthy, and with 1 when it had
    brought requests forward.
    """

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers = [_Worker() for _ in range(workers)]
        self._deaths: deque[float] = deque(maxlen=LOOP_DEATHS)
        self._looping = False

    def became_ready(self, index: int) -> None:
        """The worker has started."""
        self._workers[index].ready_since = self._clock()
        self._workers[index].tokens = 0

    def computed(self, index: int, outputs: Sequence[RequestOutput]) -> None:
        """The worker has sent these outputs."""
        worker = self._workers[index]
        for output in outputs:
            is_whole = output.finish_reason in ("stop", "length")
            worker.tokens += PROGRESS_TOKENS if is_whole else len(output.token_ids)

    def died(self, index: int) -> float:
        """The worker has ended, or could not start. Returns in how many seconds to start it."""
        now, worker = self._clock(), self._workers[index]
        if self._serves(worker):
            worker.failures = 0 if self._is_healthy(worker) else min(worker.failures, 1)
            self._end_loop()
        if worker.tokens < PROGRESS_TOKENS:
            self._deaths.append(now)
        worker.ready_since = None
        worker.tokens = 0
        worker.failures += 1
        worker.deaths += 1
        if len(self._deaths) == LOOP_DEATHS and now - self._deaths[0] <= LOOP_SECONDS:
            self._looping = True
        if worker.failures == 1:
            return 0.0
        return min(LONGEST_DELAY, 2.0 ** min(worker.failures - 2, 10))

    def deaths(self, index: int) -> int:
        """How often the worker has ended, or could not be started again."""
        return self._workers[index].deaths

    def forgive(self) -> None:
        """A request was to blame, and is gone."""
        self._deaths.clear()
        for worker in self._workers:
            worker.failures = 0

    @property
    def looping(self) -> bool:
        """Whether workers die again and again, none lives, and no request is brought forward."""
        if self._looping and any(self._serves(worker) for worker in self._workers):
            self._end_loop()
        return self._looping

    def _serves(self, worker: _Worker) -> bool:
        return self._is_healthy(worker) or worker.tokens >= PROGRESS_TOKENS

    def _end_loop(self) -> None:
        self._looping = False
        self._deaths.clear()

    def _is_healthy(self, worker: _Worker) -> bool:
        since = worker.ready_since
        return since is not None and self._clock() - since >= HEALTHY_SECONDS
