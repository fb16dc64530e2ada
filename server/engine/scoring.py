"""Log-probabilities of sampled tokens and of prompts' tokens, from the model's own logits."""

import numpy as np
import numpy.typing as npt

from server.engine.batch import Batch
from server.engine.request import Request
from server.model.model import Model
from server.sampling.log_softmax import LogprobRows, LogSoftmax
from server.sampling.token_logprobs import TokenLogprobs

Floats = npt.NDArray[np.float32]


class SampledLogprobs:
    """Of the requests that want them; made before sampling, which overwrites the logits."""

    def __init__(self, softmax: LogSoftmax, logits: Floats, requests: list[Request]) -> None:
        """logits [R, ≥ V], a row for each request."""
        self._softmax = softmax
        rows = [row for row, request in enumerate(requests) if request.params.logprobs >= 0]
        self._requests = [requests[row] for row in rows]
        self._logits = logits[rows]  # a copy

    def of(self, sampled: dict[str, int]) -> dict[str, TokenLogprobs]:
        """By request id; not of one for which nothing could be sampled."""
        tokens = [max(sampled.get(each.request_id, 0), 0) for each in self._requests]
        counts = [each.params.logprobs for each in self._requests]
        if not counts:
            return {}
        rows = LogprobRows.empty(len(tokens), max(counts))
        self._softmax.compute(self._logits, np.array(tokens, dtype=np.int64), rows)
        return {
            each.request_id: rows.take(row, each.params.logprobs)
            for row, each in enumerate(self._requests)
            if sampled.get(each.request_id, -1) >= 0
        }


def score_prompts(model: Model, softmax: LogSoftmax, batch: Batch) -> None:
    """Tell requests in prefill the logprobs of the tokens after those that were just computed.

    It overwrites the logits of the step.
    """
    places: list[int] = []
    tokens: list[int] = []
    shares = []
    start = count = 0
    for chunk in batch.chunks:
        request, scores = chunk.request, chunk.request.prompt_logprobs
        if scores is not None and not scores.complete:
            first = scores.known - 1
            last = min(request.computed + chunk.length, len(request.prompt_ids) - 1)
            offset = start - request.computed
            places += range(first + offset, last + offset)
            tokens += request.prompt_ids[first + 1 : last + 1]
            shares.append((scores, max(0, last - first)))
            count = max(count, scores.count)
        start += chunk.length
    if not places:
        return
    rows = LogprobRows.empty(len(places), count)
    ids, done = np.array(tokens, dtype=np.int64), 0
    for logits in model.logits_of(np.array(places, dtype=np.int64)):
        end = done + len(logits)
        softmax.compute(logits, ids[done:end], rows.part(done, end))
        done = end
    done = 0
    for scores, size in shares:
        scores.add(rows.part(done, done + size))
        done += size
