"""One request inside the engine."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from server.engine.cache_use import READS_AND_WRITES, CacheUse
from server.sampling.params import SamplingParams
from server.snapshots.snapshot import Snapshot, SnapshotKind


class Status(Enum):
    """Where a request is in its life."""

    WAITING = "waiting"  # no slot yet
    RUNNING = "running"  # has a slot; prefilling while computed < prompt length
    FINISHED = "finished"


@dataclass(eq=False)
class Request:
    """Prompt and generated ids, and how many of them the state in `slot` has taken in."""

    request_id: str
    prompt_ids: list[int]
    params: SamplingParams
    initial_state: str = ""
    """Name of the state to begin with; empty is the model's own."""
    use: CacheUse = READS_AND_WRITES
    status: Status = Status.WAITING
    slot: int = -1
    computed: int = 0
    token_ids: list[int] = field(init=False)
    prompt_array: npt.NDArray[np.int32] = field(init=False)
    snapshot: Snapshot | None = None
    """What it begins with, if not an initial state."""
    cached: int = 0
    """How many tokens of the prompt that stands for."""
    stops: dict[int, SnapshotKind] = field(default_factory=dict)
    """After how many tokens a chunk ends for a snapshot."""
    shared: dict[str, int] = field(default_factory=dict)
    """Request id → how much of its prompt is that of another request."""

    def __post_init__(self) -> None:
        self.token_ids = list(self.prompt_ids)
        self.prompt_array = np.array(self.prompt_ids, dtype=np.int32)

    @property
    def in_prefill(self) -> bool:
        """Whether some of the prompt is to be computed."""
        return self.computed < len(self.prompt_ids)

    def until_stop(self) -> int:
        """How many tokens the next chunk may have."""
        ahead = (stop - self.computed for stop in self.stops if stop > self.computed)
        return min(ahead, default=len(self.token_ids))

    @property
    def generated(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids) - len(self.prompt_ids)
