"""The recurrent states of the running sequences: one slot each."""

import numpy as np

from server.model.arrays import State
from server.model.config import ModelConfig
from server.model.initial_state import StateArrays, empty_state


class StatePool:
    """A fixed number of slots; a fresh pool's slots are empty sequences."""

    def __init__(self, config: ModelConfig, slots: int) -> None:
        arrays = empty_state(config).items()
        self.state = State(**{name: np.stack([array] * slots) for name, array in arrays})
        self._free = list(range(slots - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many slots can be acquired."""
        return len(self._free)

    def acquire(self, initial: StateArrays) -> int:
        """Take a slot, which gets a copy of a state. Raises IndexError when none is free."""
        slot = self._free.pop()
        for name, array in initial.items():
            getattr(self.state, name)[slot] = array
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        assert slot not in self._free
        self._free.append(slot)
