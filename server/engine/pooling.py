"""Embeddings of prompts: their hidden states, added up while chunk after chunk is computed."""

import numpy as np
import numpy.typing as npt

from server.engine.batch import Chunk
from server.engine.request import Request
from server.model.heads import EmbeddingHeads, Reranker
from server.model.model import Model
from server.model.tensors import EMBEDDING, END_TOKEN

Sums = npt.NDArray[np.float64]
Spans = list[tuple[str, int, int]]
"""Request ids with the first token of the step that is added for each, and the one after the
last."""


class Pooler:
    """Owns the sums of the requests that are embedded."""

    def __init__(self, model: Model, reranker: Reranker | None = None) -> None:
        self._model = model
        self._heads = EmbeddingHeads(model) if model.config.generation == EMBEDDING else None
        self._reranker = reranker
        self._sums: dict[str, Sums] = {}

    def add(self, chunks: list[Chunk], wkv: npt.NDArray[np.float32]) -> dict[str, bytes]:
        """Take in the chunks of the last step, in the order in which they were packed.

        `wkv` are the states by slots. Returns the embeddings (RequestOutput.embedding by request
        id) of prompts that end here.
        """
        spans: Spans = []
        end = 0
        for chunk in chunks:
            start, end = end, end + chunk.length
            spans += _spans(chunk, start, end)
        if spans:
            self._add(spans)
        done = [chunk.request for chunk in chunks if chunk.ends]
        found = self._scores([r for r in done if r.task.pooling == "state"], wkv)
        found |= self._vectors([r for r in done if r.task.pooling == "ends"])
        plain = (r for r in done if r.task.pooling in ("mean", "last"))
        return found | {request.request_id: _bytes(self._pooled(request)) for request in plain}

    def compile(self) -> None:
        """Compile or load the kernels of heads and reranker, on the calling thread."""
        if self._heads is not None:
            self._heads.compile()
        if self._reranker is not None:
            self._reranker.compile()

    def forget(self, request: Request) -> None:
        """A request is over, at whatever stage it was."""
        self._sums.pop(request.request_id, None)

    def _add(self, spans: Spans) -> None:
        """Each to the sum of its request: to that itself, or where it has several, one by one."""
        nothing = np.zeros(self._model.config.dim)
        first = {name: row for row, (name, _, _) in reversed(list(enumerate(spans)))}
        sums = np.stack(
            [
                self._sums.get(name, nothing) if first[name] == row else nothing
                for row, (name, _, _) in enumerate(spans)
            ]
        )  # [S, C]
        self._model.add_hidden([(start, end) for _, start, end in spans], sums)
        for row, (name, _, _) in enumerate(spans):
            self._sums[name] = sums[row] if first[name] == row else self._sums[name] + sums[row]

    def _pooled(self, request: Request) -> Sums:
        pooling, count = request.task.pooling, 1
        if pooling == "mean":
            count = len(request.prompt_ids)
        elif pooling == "ends":
            count = int(np.count_nonzero(request.prompt_array == END_TOKEN))
        return self._sums[request.request_id] / count

    def _vectors(self, requests: list[Request]) -> dict[str, bytes]:
        """What their heads make of the mean of the hidden states of tokens that end inputs."""
        if not requests:
            return {}
        assert self._heads is not None
        pooled = np.stack([self._pooled(request) for request in requests])
        vectors = self._heads.vectors(pooled, [request.task.head for request in requests])
        rows = zip(requests, vectors, strict=True)
        return {request.request_id: _bytes(row) for request, row in rows}

    def _scores(self, requests: list[Request], wkv: npt.NDArray[np.float32]) -> dict[str, bytes]:
        """The reranker's logits of the states that their prompts have left."""
        if not requests:
            return {}
        assert self._reranker is not None
        scores = self._reranker.scores([wkv[request.slot] for request in requests])
        rows = zip(requests, scores, strict=True)
        return {request.request_id: _bytes(np.array([score])) for request, score in rows}


def _spans(chunk: Chunk, start: int, end: int) -> Spans:
    """Which of the step's tokens start … end − 1, those of a chunk, are added for its request."""
    request, pooling = chunk.request, chunk.request.task.pooling
    if pooling == "mean":
        return [(request.request_id, start, end)]
    if pooling == "last" and chunk.ends:
        return [(request.request_id, end - 1, end)]
    if pooling == "ends":
        ids = request.prompt_array[request.computed : request.computed + chunk.length]
        places = start + np.flatnonzero(ids == END_TOKEN)
        return [(request.request_id, place, place + 1) for place in places.tolist()]
    return []


def _bytes(values: Sums) -> bytes:
    return values.astype("<f8").tobytes()
