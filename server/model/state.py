"""The recurrent states of the running sequences: one slot each."""

import numpy as np

from server.model.config import ModelConfig
from server.model.rwkv7_arrays import State


class StatePool:
    """A fixed number of slots; a slot is zeroed when it is acquired."""

    def __init__(self, config: ModelConfig, slots: int) -> None:
        n = config.head_size
        self.state = State(
            shift=np.zeros((slots, config.layers, 2, config.dim), dtype=np.float32),
            wkv=np.zeros((slots, config.layers, config.heads, n, n), dtype=np.float32),
        )
        self._free = list(range(slots - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many slots can be acquired."""
        return len(self._free)

    def acquire(self) -> int:
        """Take a slot with the state of an empty sequence. Raises IndexError when none is free."""
        slot = self._free.pop()
        for array in self.state:
            array[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        assert slot not in self._free
        self._free.append(slot)
