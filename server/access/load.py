"""What is held for somebody, or for all, and how fast that goes down: for Retry-After."""

import math

from server.access.rate_limit import Clock

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 120.0
_UNKNOWN_SECONDS = 5.0  # while nothing was measured
_WINDOW_SECONDS = 60.0


class Throughput:
    """How much was done a second in about the last minute, of the time with something to do.

    Both sums fade with the time constant of a minute, so nothing has to be kept of the past.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock()
        self._done = 0.0
        self._busy_seconds = 0.0
        self._is_busy = False

    def advance(self, done: int, is_busy: bool) -> None:
        """So much more is done, and whether there is more to do from now on."""
        now = self._clock()
        kept = math.exp((self._at - now) / _WINDOW_SECONDS)
        self._done = self._done * kept + done
        self._busy_seconds *= kept
        if self._is_busy:
            self._busy_seconds += _WINDOW_SECONDS * (1 - kept)
        self._is_busy = is_busy
        self._at = now

    def seconds_for(self, amount: int) -> float:
        """How long so much takes, at least 1 and at most 120."""
        self.advance(0, self._is_busy)
        if self._done < 1e-9:  # nothing lately: as long again as nothing was done
            seconds = max(_UNKNOWN_SECONDS, self._busy_seconds)
        else:
            seconds = amount * self._busy_seconds / self._done
        return min(max(seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


class Load:
    """Requests that run or wait, and tokens of prompts that are not read yet."""

    def __init__(self, clock: Clock) -> None:
        self.requests = 0
        """Running and waiting; each choice is one."""
        self.waiting = 0
        """Those of them that have no token yet."""
        self.queued_tokens = 0
        """Of prompts none of whose choices has a token yet."""
        self._ended = Throughput(clock)
        self._read = Throughput(clock)

    def add(self, requests: int, tokens: int) -> None:
        """Requests wait, with prompts of so many tokens."""
        self.requests += requests
        self.waiting += requests
        self.queued_tokens += tokens
        self._advance()

    def read(self, tokens: int, by_engine: bool = True) -> None:
        """A prompt is not queued any more, since the engine has read it or nobody wants it."""
        self.queued_tokens -= tokens
        self._advance(read=tokens if by_engine else 0)

    def started(self) -> None:
        """One request has its first token."""
        self.waiting -= 1

    def ended(self) -> None:
        """One request that had started is over."""
        self.requests -= 1
        self._advance(ended=1)

    def left(self) -> None:
        """One request that was waiting is over: nothing was done for it."""
        self.requests -= 1
        self.waiting -= 1
        self._advance()

    def seconds_until_room(self, requests: int) -> float:
        """Until those that wait have had their turn, and at least so many more have ended."""
        return self._ended.seconds_for(max(requests, self.waiting))

    def seconds_until_read(self) -> float:
        """Until the prompts that are queued have been read."""
        return self._read.seconds_for(self.queued_tokens)

    def _advance(self, ended: int = 0, read: int = 0) -> None:
        self._ended.advance(ended, self.requests > 0)
        self._read.advance(read, self.queued_tokens > 0)
