"""What is asked of the engine. Plain data, also on the wire."""

from typing import Literal

import msgspec

from server.protocol.cache_use import READS_AND_WRITES, CacheUse
from server.sampling.params import SamplingParams

Pooling = Literal["", "mean", "last", "ends", "state"]
"""What is made of a prompt: an embedding of the mean of all hidden states, of the last one, or of
the mean of those of the tokens that end inputs (END_TOKEN); or a reranker's score of the state."""


class Task(msgspec.Struct, frozen=True):
    """A prompt, and what is to be made of it."""

    prompt_ids: list[int]
    """May be empty only after a base with logits."""
    params: SamplingParams
    initial_state: str = ""
    """A name of ModelSpec.states, or empty for the model's own."""
    use: CacheUse = READS_AND_WRITES
    base: bytes = b""
    """An encoded snapshot that the prompt goes on from, instead of an initial state."""
    keeps_state: bool = False
    """Whether the last output brings the state after the prompt, encoded."""
    background: bool = False
    """Whether others go first, until one of them waits for what this leaves in the cache."""
    generated_ids: list[int] = []
    """What was generated from it already, before a worker was lost: it is taken in and not said
    again, and generation goes on after it."""
    mu: float | None = None
    """That of mirostat after generated_ids."""
    tenant: str = ""
    """Whose request it is; tenants get equal shares."""
    priority: int = 0
    """Lower values are handled earlier."""
    pooling: Pooling = ""
    """If set, the prompt, which is not empty, is embedded or scored and nothing is sampled.
    Embeddings leave no states in the cache, and `mean` takes none from there."""
    head: str = ""
    """With `ends`: which head makes the embedding, a key of EMBEDDING_HEADS."""
