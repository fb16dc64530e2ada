"""One request inside the engine."""

from dataclasses import dataclass, field
from enum import Enum

from server.sampling.params import SamplingParams


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
    status: Status = Status.WAITING
    slot: int = -1
    computed: int = 0
    token_ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.token_ids = list(self.prompt_ids)

    @property
    def generated(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids) - len(self.prompt_ids)
