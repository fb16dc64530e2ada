"""What a sequence was after some of its tokens: enough to go on from there."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from server.model.initial_state import StateArrays


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
