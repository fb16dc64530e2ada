"""Executes what the scheduler has decided: states, forward pass, snapshots, sampling."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from server.engine.batch import Batch, BatchResult, Chunk
from server.engine.grammar_rows import GrammarRows
from server.engine.pooling import Pooler
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request
from server.engine.scoring import SampledLogprobs, score_prompts
from server.model.heads import Reranker
from server.model.initial_state import StateArrays
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.sampling.log_softmax import LogSoftmax
from server.sampling.memory import SamplingMemory, needs_memory
from server.sampling.sampler import Sampler, SampleRow
from server.state_cache.snapshot import Snapshot
from server.tokenizer.base import Tokenizer

Floats = npt.NDArray[np.float32]


class ModelRunner:
    """Owns states and sums of the running requests, and what is remembered for their sampling."""

    def __init__(
        self,
        model: Model,
        sampler: Sampler,
        initial_states: Mapping[str, StateArrays],
        cache: PrefixCache,
        tokenizer: Tokenizer,
        grammars: GrammarRows,
        reranker: Reranker | None = None,
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._log_softmax = LogSoftmax(model.config.vocab_size, model.team)
        self._states = StatePool(model.config, model.max_rows)
        self._initial_states = initial_states
        self._cache = cache
        self._pooler = Pooler(model, reranker)
        self._tokenizer = tokenizer
        self._memories: dict[str, SamplingMemory] = {}
        self.grammars = grammars
        """What the outputs must match."""

    def run(self, batch: Batch) -> BatchResult:
        """Advance every chunk's request and sample where the chunk reaches its end."""
        for request in batch.parked:
            self._park(request)
        for chunk in batch.chunks:
            if chunk.request.slot < 0:
                self._start(chunk.request)
        logits = self._forward(batch)
        pooled = self._pooler.add(batch.chunks, self._states.state.wkv)
        result = BatchResult(embeddings=pooled)
        self._sample(batch, logits, result)
        score_prompts(self._model, self._log_softmax, batch)
        return result

    def compile(self) -> None:
        """Compile or load what is not the model's, on the calling thread."""
        self._sampler.compile()
        self._log_softmax.compile()
        self._pooler.compile()

    def keep_reply(self, request: Request) -> None:
        """Let what a request has generated so far be begun with."""
        if self._cache.keeps_replies_of(request):
            self._cache.store(request, self._take(request, request.computed), "reply")

    def release(self, request: Request) -> None:
        """Free what a finished or aborted request holds, at whatever stage it was."""
        if request.slot >= 0:
            self._states.release(request.slot)
            request.slot = -1
        request.parked = None
        self._memories.pop(request.request_id, None)
        self._pooler.forget(request)
        self.grammars.release(request)

    @property
    def free_slots(self) -> int:
        """How many more requests can have a state."""
        return self._states.free

    def _park(self, request: Request) -> None:
        if request.slot >= 0:  # else it was admitted and never ran
            request.parked = self._take(request, request.computed)
            self._states.release(request.slot)
            request.slot = -1

    def _start(self, request: Request) -> None:
        if request.parked:
            request.slot = self._states.acquire(request.parked.state)
            request.parked = None
            return
        if request.snapshot:
            initial = request.snapshot.state
        elif request.base:
            initial = request.base.snapshot.state
        else:
            initial = self._initial_states[request.task.initial_state]
        request.slot = self._states.acquire(initial)
        self.grammars.start(request)
        if needs_memory(request.params):
            task = request.task
            self._memories[request.request_id] = SamplingMemory(
                task.params, self._tokenizer, task.prompt_ids, task.generated_ids, task.mu
            )

    def _row(self, request: Request) -> SampleRow:
        memory = self._memories.get(request.request_id)
        # What is known already is not sampled again, and the memory is ahead of it.
        if memory is None or request.known_ids:
            row = SampleRow(request.params, request.position)
        else:
            row = memory.row(request.position)
        return row._replace(mask=self.grammars.mask(request))

    def _sample(self, batch: Batch, logits: Floats, result: BatchResult) -> None:
        """A token of each chunk that samples, by its row of logits, which are overwritten."""
        sampling = [chunk.request for chunk in batch.chunks if chunk.samples]
        if not sampling:
            return
        logprobs = SampledLogprobs(self._log_softmax, logits, sampling)
        rows = [self._row(request) for request in sampling]
        for request, token in zip(sampling, self._sampler.sample(logits, rows), strict=True):
            if request.known_ids:
                continue
            result.sampled[request.request_id] = token
            self.grammars.advance(request, token, result)
            memory = self._memories.get(request.request_id)
            if memory and token >= 0:
                memory.add(token)
                request.mu = memory.mu
        result.logprobs.update(logprobs.of(result.sampled))

    def _forward(self, batch: Batch) -> Floats:
        """The logits [R, ≥ V] of the chunks that sample: computed, or from their snapshots."""
        chunks = [chunk for chunk in batch.chunks if chunk.length]
        logits: Floats = np.zeros((0, self._model.config.vocab_size), np.float32)
        if chunks:
            sequences = [_sequence(chunk) for chunk in chunks]
            logits = self._model.forward(pack_batch(sequences), self._states.state)
            self._keep_snapshots(chunks, logits)
        if len(chunks) == len(batch.chunks):
            return logits
        computed = iter(logits)
        vocab_size = self._model.config.vocab_size
        rows = np.empty((sum(chunk.samples for chunk in batch.chunks), vocab_size), np.float32)
        for row, chunk in zip(rows, (c for c in batch.chunks if c.samples), strict=True):
            if chunk.length:
                row[:] = next(computed)[:vocab_size]
            else:
                snapshot = chunk.request.snapshot
                assert snapshot is not None
                row[:] = snapshot.logits
                self._keep_state(chunk.request, snapshot)
        return rows

    def _keep_snapshots(self, chunks: list[Chunk], logits: Floats) -> None:
        """Before sampling, which overwrites the logits."""
        row = 0
        for chunk in chunks:
            request, end = chunk.request, chunk.request.computed + chunk.length
            keeps = request.task.keeps_state and end == len(request.prompt_ids)
            if keeps or end in request.stops:
                of_row = None
                if chunk.samples:
                    of_row = logits[row, : self._model.config.vocab_size].copy()
                snapshot = self._take(request, end, of_row)
                if end in request.stops:
                    self._cache.store(request, snapshot, request.stops[end])
                if keeps:
                    self._keep_state(request, snapshot)
            row += chunk.samples

    def _keep_state(self, request: Request, snapshot: Snapshot) -> None:
        """For the task's last output; the tokens of the base are in the state as well."""
        if request.task.keeps_state:
            tokens = request.position
            request.kept = Snapshot(tokens, snapshot.state, snapshot.logits)

    def _take(self, request: Request, tokens: int, logits: Floats | None = None) -> Snapshot:
        arrays = self._states.state._asdict()
        state = {name: array[request.slot].copy() for name, array in arrays.items()}
        return Snapshot(tokens, state, logits)


def _sequence(chunk: Chunk) -> tuple[list[int], int, bool]:
    request = chunk.request
    tokens = request.token_ids[request.computed : request.computed + chunk.length]
    return tokens, request.slot, chunk.samples
