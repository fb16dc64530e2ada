"""How much a key may use a minute: token buckets, and the headers that tell of them."""

import math
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds, from any beginning; never goes back."""


class TokenBucket:
    """Holds up to a minute's amount and fills evenly. Its level may fall below zero: a debt."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._at = clock()
        self.per_minute = per_minute
        self._level = float(per_minute)

    @property
    def level(self) -> float:
        """How much may be used now."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self._per_second)
        self._at = now
        return self._level

    @property
    def seconds_until_full(self) -> float:
        """Until the level is the minute's amount, if nothing is used meanwhile."""
        return (self.per_minute - self.level) / self._per_second

    def seconds_until(self, amount: int) -> float:
        """Until so much may be used; 0 if it may be now.

        More than a minute's amount may be used of a full bucket: the debt is what bounds it.
        """
        missing = min(amount, self.per_minute) - self.level
        return max(0.0, missing / self._per_second)

    def use(self, amount: int) -> None:
        """Take it out, whether it is there or not; below zero to give back."""
        self._level = self.level - amount

    def resize(self, per_minute: int) -> None:
        """Change the minute's amount; what was used stays used."""
        used = self.per_minute - self.level
        self.per_minute = per_minute
        self._level = per_minute - used

    @property
    def _per_second(self) -> float:
        return self.per_minute / 60

    def headers(self, unit: str) -> dict[str, str]:
        """As OpenAI sends them; `unit` is requests or tokens."""
        return {
            f"x-ratelimit-limit-{unit}": str(self.per_minute),
            f"x-ratelimit-remaining-{unit}": str(max(0, math.floor(self.level))),
            f"x-ratelimit-reset-{unit}": format_duration(self.seconds_until_full),
        }


def format_duration(seconds: float) -> str:
    """As OpenAI writes durations: 0s, 17ms, 1s, 6m0s, 1h0m1s; rounded up."""
    if seconds <= 0:
        return "0s"
    if seconds <= 0.999:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{text}{seconds}s"
