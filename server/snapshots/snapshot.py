"""What a sequence was after some of its tokens: enough to go on from there."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from server.model.initial_state import StateArrays

SnapshotKind = Literal[
    "system", "message", "prompt", "reply", "spaced", "breakpoint", "junction", "restored"
]
"""Where a snapshot was taken: at the end of the system message, of another message, of the whole
prompt, or of the reply; at a distance inside a long prompt; where the client asked for it; where
two sequences part; or before it came back from a tier below memory."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state, and the logits that came with it. Its arrays become read-only.

    The arrays must be copies: a writeable view, such as a slot of the StatePool, would change with
    what it is a view of, and raises ValueError.
    """

    tokens: int
    """How many token ids the state has taken in."""
    state: StateArrays
    """As a StatePool takes it."""
    logits: npt.NDArray[np.float32] | None = None
    """[V], after the last token; None where they were not computed."""
    nbytes: int = field(init=False)
    """Size of the arrays in bytes."""

    def __post_init__(self) -> None:
        arrays = dict(self.state)
        if self.logits is not None:
            arrays["logits"] = self.logits
        for name, array in arrays.items():
            if array.flags.writeable and not array.flags.owndata:
                raise ValueError(f"snapshot: {name} is a view, not a copy")
            array.flags.writeable = False
        object.__setattr__(self, "nbytes", sum(array.nbytes for array in arrays.values()))
