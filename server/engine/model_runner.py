"""Executes what the scheduler has decided: states, forward pass, sampling."""

from collections.abc import Mapping

from server.engine.batch import Batch, BatchResult
from server.engine.request import Request
from server.model.initial_state import StateArrays
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.sampling.penalties import PenaltyCounts
from server.sampling.sampler import Sampler, SampleRow, needs_counts


class ModelRunner:
    """Owns the states and the penalty counts of the running requests."""

    def __init__(
        self, model: Model, sampler: Sampler, initial_states: Mapping[str, StateArrays]
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._states = StatePool(model.config, model.max_rows)
        self._initial_states = initial_states
        self._counts: dict[str, PenaltyCounts] = {}

    def run(self, batch: Batch) -> BatchResult:
        """Advance every chunk's request and sample where the chunk reaches its end."""
        sequences = []
        for chunk in batch.chunks:
            request = chunk.request
            if request.slot < 0:
                self._start(request)
            tokens = request.token_ids[request.computed : request.computed + chunk.length]
            sequences.append((tokens, request.slot, chunk.samples))
        logits = self._model.forward(pack_batch(sequences), self._states.state)
        sampling = [chunk.request for chunk in batch.chunks if chunk.samples]
        if not sampling:
            return BatchResult({})
        rows = [
            SampleRow(request.params, len(request.token_ids), self._counts.get(request.request_id))
            for request in sampling
        ]
        sampled = {}
        for request, token in zip(sampling, self._sampler.sample(logits, rows), strict=True):
            sampled[request.request_id] = token
            if request.request_id in self._counts and token >= 0:
                self._counts[request.request_id].add(token)
        return BatchResult(sampled)

    def release(self, request: Request) -> None:
        """Free what a finished or aborted request holds; a waiting one holds nothing."""
        if request.slot >= 0:
            self._states.release(request.slot)
            request.slot = -1
        self._counts.pop(request.request_id, None)

    @property
    def free_slots(self) -> int:
        """How many more requests can have a state."""
        return self._states.free

    def _start(self, request: Request) -> None:
        request.slot = self._states.acquire(self._initial_states[request.initial_state])
        if needs_counts(request.params):
            self._counts[request.request_id] = PenaltyCounts(request.params.penalty_decay)
