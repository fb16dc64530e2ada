"""One request inside the engine."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

import msgspec
import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from server.engine.prompt_logprobs import PromptLogprobs
from server.model.tensors import END_TOKEN
from server.protocol.cache_use import CacheUse, SnapshotKind
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.state_cache.encoding import StoredSnapshot
from server.state_cache.fetching import Fetch
from server.state_cache.keys import namespace_of
from server.state_cache.snapshot import Snapshot


class Status(Enum):
    """Where a request is in its life."""

    WAITING = "waiting"  # no slot yet
    RUNNING = "running"  # has a slot; prefilling while computed < prompt length
    PARKED = "parked"  # sleeps, and has given up its slot or never had one
    FINISHED = "finished"


@dataclass(eq=False)
class Request:
    """Prompt and generated ids, and how many of them the state in `slot` has taken in."""

    request_id: str
    task: Task
    base: StoredSnapshot | None = None
    """What the prompt goes on from, instead of an initial state."""
    status: Status = Status.WAITING
    asleep: bool = False
    """Whether nothing is computed for it until it is woken."""
    slot: int = -1
    begun: bool = False
    """Whether it was admitted once, so that its cached beginning is known."""
    parked: Snapshot | None = None
    """What was in the slot that it has given up."""
    computed: int = 0
    token_ids: list[int] = field(init=False)
    prompt_array: npt.NDArray[np.int32] = field(init=False)
    snapshot: Snapshot | None = None
    """What it begins with from the state cache."""
    cached: int = 0
    """How many tokens of the prompt that stands for."""
    fetch: Fetch | None = None
    """What it waits for from the tiers below memory."""
    restored: bool = False
    """Whether they have been asked."""
    written: int = 0
    """How many more tokens of the prompt the cache stands for by now."""
    added_at: float = 0.0
    """When it came, by the engine's clock."""
    queued_seconds: float = 0.0
    """How long it then waited for its first slot."""
    mu: float | None = None
    """That of mirostat, if it is on, after the token that was sampled last."""
    grammar: Future[LLMatcher] | None = None
    """What its output must match, if anything."""
    is_compiling: bool = False
    """Whether it waits for that."""
    kept: Snapshot | None = None
    """The state after the prompt, if the task keeps it."""
    background: bool = field(init=False)
    """Whether others go first."""
    use: CacheUse = field(init=False)
    """What it may take from the state cache and leave there."""
    stops: dict[int, SnapshotKind] = field(default_factory=dict)
    """After how many tokens a chunk ends for a snapshot."""
    prompt_logprobs: PromptLogprobs | None = None
    """Those of the prompt's tokens, if they are wanted: one that is resumed has told them."""
    first_end: int = 0
    """How many tokens an embedding by the pooling `ends` has before the first that it pools."""
    shared: dict[str, int] = field(default_factory=dict)
    """Request id → how much of its prompt is that of another request."""

    def __post_init__(self) -> None:
        self.token_ids = list(self.prompt_ids)
        self.background = self.task.background
        self.use = _cache_use(self.task)
        self.prompt_array = np.array(self.prompt_ids, dtype=np.int32)
        if self.task.pooling == "ends":
            self.first_end = self.prompt_ids.index(END_TOKEN)
        count = self.params.prompt_logprobs
        if count >= 0 and not self.task.generated_ids:
            start = self.params.prompt_logprobs_from
            self.prompt_logprobs = PromptLogprobs(self.prompt_array, count, start)
        if self.base is not None and not self.prompt_ids:
            self.snapshot = self.base.snapshot

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt, after the base if there is one."""
        return self.task.prompt_ids

    @property
    def params(self) -> SamplingParams:
        """How tokens are sampled."""
        return self.task.params

    @property
    def namespace(self) -> str:
        """See namespace_of()."""
        base = self.base.checksum if self.base else ""
        return namespace_of(self.task.initial_state, self.use.salt, base)

    def kept_token_ids(self) -> npt.NDArray[np.int32] | None:
        """[tokens of the kept state], those of the base as well; None where it has not all."""
        assert self.kept is not None
        before = np.zeros(0, np.int32) if self.base is None else self.base.token_ids
        if before is None:
            return None
        ids = np.concatenate([before, np.array(self.token_ids, np.int32)])[: self.kept.tokens]
        return ids if len(ids) == self.kept.tokens else None

    @property
    def position(self) -> int:
        """Index of the next token in the whole sequence, with the tokens of the base."""
        return len(self.token_ids) + (self.base.snapshot.tokens if self.base else 0)

    @property
    def uncomputed(self) -> int:
        """How many of the tokens that are known are to be computed; at most 1 while it decodes."""
        return len(self.token_ids) - self.computed

    @property
    def most_cached(self) -> int:
        """How many tokens of the prompt a state may stand for; the others are computed here."""
        if self.prompt_logprobs is not None and not self.scores_whole_prompt:
            return self.prompt_logprobs.most_skipped
        if self.task.pooling == "ends":
            return self.first_end
        return len(self.prompt_ids) - bool(self.task.pooling)

    @property
    def scores_whole_prompt(self) -> bool:
        """Whether it wants logprobs of all tokens of its prompt."""
        return self.prompt_logprobs is not None and self.prompt_logprobs.is_whole

    @property
    def in_prefill(self) -> bool:
        """Whether some of the prompt is to be computed."""
        return self.computed < len(self.prompt_ids)

    def until_stop(self) -> int:
        """How many tokens the next chunk may have."""
        ahead = (stop - self.computed for stop in self.stops if stop > self.computed)
        return min(ahead, default=len(self.token_ids))

    @property
    def known_ids(self) -> list[int]:
        """What follows the prompt and need not be sampled; empty once it is in token_ids."""
        return [] if self.generated else self.task.generated_ids

    @property
    def generated(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids) - len(self.prompt_ids)


def _cache_use(task: Task) -> CacheUse:
    """What a task asks for; the mean of hidden states needs those of all tokens."""
    if task.pooling in ("", "state"):
        return task.use
    reads = task.use.reads and task.pooling != "mean"
    return msgspec.structs.replace(task.use, reads=reads, writes=False)
