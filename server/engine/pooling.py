"""Embeddings of prompts: their hidden states, added up while chunk after chunk is computed."""

import numpy as np
import numpy.typing as npt

from server.engine.batch import Chunk
from server.engine.request import Request
from server.model.model import Model

Sums = npt.NDArray[np.float64]


class Pooler:
    """Owns the sums of the requests that are embedded."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._sums: dict[str, Sums] = {}

    def add(self, chunks: list[Chunk]) -> dict[str, bytes]:
        """Take in the chunks of the last step, in the order in which they were packed.

        Returns the embeddings (RequestOutput.embedding by request id) of prompts that end here.
        """
        spans: dict[str, tuple[int, int]] = {}
        end = 0
        for chunk in chunks:
            start, end = end, end + chunk.length
            if chunk.request.task.pooling == "mean":
                spans[chunk.request.request_id] = start, end
            elif chunk.request.task.pooling == "last" and chunk.ends:
                spans[chunk.request.request_id] = end - 1, end
        if not spans:
            return {}
        nothing = np.zeros(self._model.config.dim)
        sums = np.stack([self._sums.get(request_id, nothing) for request_id in spans])  # [S, C]
        self._model.add_hidden(list(spans.values()), sums)
        self._sums |= zip(spans, sums, strict=True)
        done = (c.request for c in chunks if c.ends and c.request.request_id in spans)
        return {request.request_id: self._embedding(request) for request in done}

    def forget(self, request: Request) -> None:
        """A request is over, at whatever stage it was."""
        self._sums.pop(request.request_id, None)

    def _embedding(self, request: Request) -> bytes:
        summed = len(request.prompt_ids) if request.task.pooling == "mean" else 1
        return (self._sums[request.request_id] / summed).astype("<f8").tobytes()
