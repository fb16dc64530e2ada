"""The recurrent states of the running sequences: one slot each."""

import numpy as np
import numpy.typing as npt

from server.model.arrays import State
from server.model.config import ModelConfig

_NOTHING_YET = np.float32(-1e30)


class StatePool:
    """A fixed number of slots; a slot is emptied when it is acquired."""

    def __init__(self, config: ModelConfig, slots: int) -> None:
        self._empty = empty_state(config)
        self.state = State(
            **{name: np.stack([array] * slots) for name, array in self._empty.items()}
        )
        self._free = list(range(slots - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many slots can be acquired."""
        return len(self._free)

    def acquire(self) -> int:
        """Take a slot with the state of an empty sequence. Raises IndexError when none is free."""
        slot = self._free.pop()
        for name, array in self._empty.items():
            getattr(self.state, name)[slot] = array
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        assert slot not in self._free
        self._free.append(slot)


def empty_state(config: ModelConfig) -> dict[str, npt.NDArray[np.float32]]:
    """The state of a sequence without tokens, by the names of ModelConfig.state_shapes."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in config.state_shapes.items()}
    if not config.heads:
        arrays["wkv"][:, 2] = _NOTHING_YET  # the exponent of nothing, as in the official code
    return arrays
