"""Outputs on their way from a worker to the API process."""

from collections.abc import Callable
from time import perf_counter

from server.protocol.outputs import RequestOutput, merged


class Outbox:
    """Bounds how many outputs leave a worker in a second, by merging those of several steps.

    For each one the API process computes, writes to a socket and wakes a client, on cores that the
    kernels want. First tokens and ends are never held back, nor is anything when there are few.
    """

    def __init__(self, per_second: int, now: Callable[[], float] = perf_counter) -> None:
        """`per_second` 0: no bound."""
        self._per_second = per_second
        self._now = now
        self._held: dict[str, list[RequestOutput]] = {}
        self._begun: set[str] = set()
        """Requests that have had an output, and not their last."""
        self._emptied_at = now()

    def pass_on(self, outputs: list[RequestOutput]) -> list[RequestOutput]:
        """Take the outputs of a step; returns what is to be sent now."""
        for output in outputs:
            self._held.setdefault(output.request_id, []).append(output)
        if self._is_due():
            return self.empty()
        urgent = dict.fromkeys(
            output.request_id
            for output in outputs
            if output.finish_reason or output.request_id not in self._begun
        )
        return [self._take(ident) for ident in urgent]

    def empty(self) -> list[RequestOutput]:
        """All that is held."""
        self._emptied_at = self._now()
        return [self._take(ident) for ident in list(self._held)]

    def forget(self, request_id: str) -> None:
        """Of a request that is aborted nothing is wanted any more."""
        self._held.pop(request_id, None)
        self._begun.discard(request_id)

    def _is_due(self) -> bool:
        elapsed = self._now() - self._emptied_at
        return elapsed * self._per_second >= len(self._begun) if self._per_second else True

    def _take(self, request_id: str) -> RequestOutput:
        output = merged(self._held.pop(request_id))
        if output.finish_reason:
            self._begun.discard(request_id)
        else:
            self._begun.add(request_id)
        return output
