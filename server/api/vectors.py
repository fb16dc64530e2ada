"""From pooled hidden states to the vectors of an answer."""

import base64
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from server.api.generation import Generation

Floats = npt.NDArray[np.float32]


def vector_of(embedding: bytes, dimensions: int | None, normalize: bool) -> Floats:
    """The first `dimensions` of RequestOutput.embedding, of length 1 unless it is not to be.

    Computed in float64 and rounded once, to little-endian float32.
    """
    values = np.frombuffer(embedding, "<f8")[:dimensions]
    # A running sum has one order on every machine; numpy's other sums have not.
    length = np.sqrt(np.cumsum(values * values)[-1])
    if normalize and length > 0:
        values = values / length
    return values.astype("<f4")


def encode_item(index: int, vector: Floats, form: Literal["float", "base64"]) -> bytes:
    """One item of `data` as JSON."""
    if form == "base64":
        text = base64.b64encode(vector.tobytes()).decode()
        return msgspec.json.encode({"object": "embedding", "index": index, "embedding": text})
    numbers = vector.tolist()
    return msgspec.json.encode({"object": "embedding", "index": index, "embedding": numbers})


async def collect_vectors(
    generation: Generation, encode: Callable[[int, bytes], bytes]
) -> list[bytes]:
    """What `encode` makes of the index of each choice and its RequestOutput.embedding, in order.

    Each as it comes, so that no large answer is made at once on the event loop.
    """
    items: dict[int, bytes] = {}
    while generation.running:
        for news in await generation.news():
            embedding = generation.choices[news.index].embedding
            items[news.index] = encode(news.index, embedding)
    return [items[index] for index in sorted(items)]
