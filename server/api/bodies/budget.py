"""Who may hold how much of the memory for bodies, and who has to wait. Knows no HTTP."""

import asyncio
from enum import Enum, auto
from typing import NamedTuple

AHEAD_BYTES = 64 << 10
"""Counted for what comes next of a body that is read: about as much as comes at once."""


class Stage(Enum):
    """How far a body is."""

    COMING = auto()
    WHOLE = auto()
    MADE = auto()
    """There are values of it."""


class Share:
    """What one body holds."""

    def __init__(self) -> None:
        self.stage = Stage.COMING
        self.size = 0


class _Wish(NamedTuple):
    stage: Stage
    size: int
    granted: "asyncio.Future[None]"


class Budget:
    """Bodies are read, and values made of them, as long as all of that is within a bound.

    No two wait for each other: the oldest of those that come has to wait only for those that are
    there as a whole, and the first that waits for its values only for values of others. So there
    may be twice the bound, and the values of one body. A body that is larger than the bound, as a
    state may be, has to be the only one.
    """

    def __init__(self, max_bytes: int, patience: float) -> None:
        self._max_bytes = max_bytes
        self._patience = patience
        self._held = dict.fromkeys(Stage, 0)
        self._coming: dict[Share, None] = {}  # in the order of arrival
        self._waiting: dict[Share, _Wish] = {}

    @property
    def held(self) -> int:
        """Bytes in all."""
        return sum(self._held.values())

    def put(self, share: Share, stage: Stage, size: int) -> None:
        """A body is so far and so large now, without being asked whether it may."""
        self._put(share, stage, size)
        for other, wish in [*self._waiting.items()]:
            gave_up = wish.granted.done()  # and has not been told yet
            if not gave_up and self._fits(other, wish.stage, wish.size):
                del self._waiting[other]
                self._put(other, wish.stage, wish.size)
                wish.granted.set_result(None)

    def remove(self, share: Share) -> None:
        """A body is no more, nor does it wait."""
        self._waiting.pop(share, None)
        self.put(share, Stage.WHOLE, 0)

    async def read_on(self, share: Share) -> None:
        """Wait until more of it may be read. Raises TimeoutError when that takes too long."""
        await self._wait(share, Stage.COMING, share.size + AHEAD_BYTES)

    async def make(self, share: Share, size: int) -> None:
        """Wait until values of so many bytes may be made of it. Raises TimeoutError likewise."""
        await self._wait(share, Stage.MADE, size)

    def make_now(self, share: Share, size: int) -> bool:
        """The same, if there is no need to wait."""
        fits = self._fits(share, Stage.MADE, size)
        if fits:
            self.put(share, Stage.MADE, size)
        return fits

    async def _wait(self, share: Share, stage: Stage, size: int) -> None:
        if self._fits(share, stage, size):
            self.put(share, stage, size)
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting[share] = _Wish(stage, size, granted)
        try:
            async with asyncio.timeout(self._patience):
                await granted
        finally:
            self._waiting.pop(share, None)

    def _fits(self, share: Share, stage: Stage, size: int) -> bool:
        if not size or self.held - share.size + size <= self._max_bytes:
            return True
        if stage is Stage.MADE:
            return not self._held[stage]
        if share is not next(iter(self._coming)):
            return False
        whole = self._held[Stage.WHOLE] + self._held[Stage.MADE]
        return not whole or whole + size <= self._max_bytes

    def _put(self, share: Share, stage: Stage, size: int) -> None:
        self._held[share.stage] -= share.size
        self._held[stage] += size
        share.stage, share.size = stage, size
        if stage is Stage.COMING and size:
            self._coming[share] = None
        else:
            self._coming.pop(share, None)
