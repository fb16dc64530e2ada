"""What the scheduler tells the runner to compute, and what comes back."""

from dataclasses import dataclass, field

from server.engine.request import Request
from server.sampling.token_logprobs import TokenLogprobs


@dataclass(frozen=True)
class Chunk:
    """The next `length` tokens of a request; with `samples`, they reach the end of its tokens."""

    request: Request
    length: int

    @property
    def ends(self) -> bool:
        """Whether the chunk takes in the last token that is known."""
        return self.request.computed + self.length == len(self.request.token_ids)

    @property
    def samples(self) -> bool:
        """Whether a new token follows."""
        return self.ends and not self.request.task.pooling


@dataclass(frozen=True)
class Batch:
    """The work of one step."""

    chunks: list[Chunk] = field(default_factory=list)
    parked: list[Request] = field(default_factory=list)
    """Before it, their states are taken out of their slots, which the chunks may need."""
    admitted: list[Request] = field(default_factory=list)
    """Those that have got a slot for the first time."""

    @property
    def tokens(self) -> int:
        """Of all chunks."""
        return sum(chunk.length for chunk in self.chunks)


@dataclass(frozen=True)
class BatchResult:
    """The sampled token of every chunk that samples, by request id; NO_TOKEN if there was none.

    Of a request that was resumed, what it had generated takes the place of the first one.
    """

    sampled: dict[str, int] = field(default_factory=dict)
    logprobs: dict[str, TokenLogprobs] = field(default_factory=dict)
    """Of those of them whose requests want them."""
    embeddings: dict[str, bytes] = field(default_factory=dict)
    """RequestOutput.embedding by request id, of those whose prompt was embedded."""
    ended: set[str] = field(default_factory=set)
    """Requests whose output ends before that token, by their grammars."""
    complete: set[str] = field(default_factory=set)
    """Requests whose grammars allow nothing after that token."""
    errors: dict[str, str] = field(default_factory=dict)
    """Why the grammars of requests cannot go on: one line each."""
