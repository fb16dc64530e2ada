"""Who may begin now: bounds on what is held, limits a minute, and deadlines. Knows no HTTP."""

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

from server.access.caller import Caller, KeyLimits
from server.access.load import Load
from server.access.rate_limit import Clock, TokenBucket
from server.config import LimitsSettings

_MAX_ACCOUNTS = 4096  # of names that come and go with the keys file

_SHORT = 100
"""Requests with at most this part of limits.max_queued_tokens are short, and have room of their own
beyond it: somebody's prompts of a million tokens must not keep everybody else out."""
_ROOM_OF_SHORT = 4
"""As a part of it, too."""

RefusalCode = Literal[
    "invalid_value", "queue_full", "rate_limit_exceeded", "queue_timeout", "deadline_exceeded"
]


class Refusal(Exception):
    """A request may not begin or go on: one line; `retry_after` is in seconds, if it may later."""

    def __init__(self, code: RefusalCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class Account:
    """What the owner of a key uses."""

    def __init__(self, clock: Clock) -> None:
        self.load = Load(clock)
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def update(self, limits: KeyLimits) -> None:
        """Take over limits, which may have changed with the file."""
        amounts = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        for unit, per_minute in amounts.items():
            if not per_minute:
                self._buckets.pop(unit, None)
            elif unit not in self._buckets:
                self._buckets[unit] = TokenBucket(per_minute, self._clock)
            elif self._buckets[unit].per_minute != per_minute:
                self._buckets[unit].resize(per_minute)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with it."""
        full = all(bucket.seconds_until_full <= 0 for bucket in self._buckets.values())
        return full and not self.load.requests

    @property
    def headers(self) -> dict[str, str]:
        """x-ratelimit-*, of what is limited."""
        found: dict[str, str] = {}
        for unit, bucket in self._buckets.items():
            found |= bucket.headers(unit)
        return found

    def check(self, tokens: int, requests: int = 1) -> None:
        """Raises Refusal when one more request, with so many tokens, is over a minute's amount.

        With `requests` 0 they are the tokens of one that was charged already.
        """
        for unit, bucket in self._buckets.items():
            if unit == "requests" and not requests:
                continue
            seconds = bucket.seconds_until(1 if unit == "requests" else tokens)
            if seconds > 0:
                message = f"over this key's limit of {bucket.per_minute} {unit} a minute"
                raise Refusal("rate_limit_exceeded", message, seconds)

    def use(self, requests: int, tokens: int) -> None:
        """Charge them; below zero to give back."""
        for unit, amount in (("requests", requests), ("tokens", tokens)):
            if unit in self._buckets:
                self._buckets[unit].use(amount)


class Admission:
    """Admits whole HTTP requests: all their choices, or none."""

    def __init__(self, limits: LimitsSettings, clock: Clock = time.monotonic) -> None:
        self.total = Load(clock)
        self.short = Load(clock)
        """Of short requests alone."""
        self.limits = limits
        self.clock = clock
        self._accounts: dict[str, Account] = {}

    def admit(
        self, caller: Caller, prompts: Sequence[int], choices: int, at_once: int | None = None
    ) -> "Ticket":
        """Hold so many choices of each prompt, whose tokens are given, until the ticket is closed.

        With `at_once`, no more of them than that and than the bounds on requests: the ticket holds
        the next one when one has finished. The tokens of all count from the beginning.

        Raises Refusal: invalid_value when it could never be admitted, queue_full or
        rate_limit_exceeded. A prompt over a bound on tokens is admitted when no other is queued,
        and short ones while a quarter of the server's bound holds all of them.
        """
        account, own, limits = self.account(caller), caller.limits, self.limits
        requests, tokens = len(prompts) * choices, sum(prompts)
        if at_once is not None:
            most = own.max_requests or limits.max_requests
            requests = min(requests, at_once, most, limits.max_requests)
        account.check(tokens)
        _check("this key", account.load, own.max_requests, own.max_queued_tokens, requests, tokens)
        is_short = tokens <= limits.max_queued_tokens // _SHORT
        room = limits.max_queued_tokens // _ROOM_OF_SHORT - self.short.queued_tokens
        max_tokens = 0 if is_short and tokens <= room else limits.max_queued_tokens
        _check("the server", self.total, limits.max_requests, max_tokens, requests, tokens)
        account.use(1, tokens)
        return Ticket(self, account, prompts, choices, requests, is_short)

    def account(self, caller: Caller) -> Account:
        """Of the caller's name, with the caller's limits."""
        account = self._accounts.get(caller.name)
        if account is None:
            if len(self._accounts) >= _MAX_ACCOUNTS:
                busy = {name: each for name, each in self._accounts.items() if not each.is_idle}
                self._accounts = busy
            account = self._accounts[caller.name] = Account(self.clock)
        account.update(caller.limits)
        return account


def _check(
    holder: str, load: Load, max_requests: int, max_tokens: int, requests: int, tokens: int
) -> None:
    """Raises Refusal when more requests, with prompts of so many tokens, are over a bound."""
    if 0 < max_requests < requests:
        raise Refusal(
            "invalid_value",
            f"n times the number of prompts is over the {max_requests} requests that {holder} "
            "may hold",
        )
    excess = load.requests + requests - max_requests
    if max_requests and excess > 0:
        message = f"{holder} already holds {load.requests} requests of {max_requests}"
        raise Refusal("queue_full", message, load.seconds_until_room(excess))
    if max_tokens and load.queued_tokens and load.queued_tokens + tokens > max_tokens:
        message = f"{holder} already holds {load.queued_tokens} unread tokens of {max_tokens}"
        raise Refusal("queue_full", message, load.seconds_until_read())


class Ticket:
    """An HTTP request that was admitted, until it is closed. Choice i of prompt p is p × n + i."""

    def __init__(
        self,
        admission: Admission,
        account: Account,
        prompts: Sequence[int],
        choices: int,
        at_once: int,
        is_short: bool,
    ) -> None:
        """The first `at_once` choices are held; when one of those finishes, the next one is."""
        self.at_once = at_once
        self._total = admission.total
        self._account = account
        self._loads = [admission.total, account.load, *([admission.short] if is_short else [])]
        self._limits = admission.limits
        self._clock = admission.clock
        now = self._clock()
        self._queue_deadline = now + (self._limits.queue_seconds or math.inf)
        self._deadline = now + (self._limits.total_seconds or math.inf)
        self._tokens = sum(prompts)
        self._choices = choices
        self._unread = dict(enumerate(prompts))
        self._waiting = set(range(at_once))
        self._later = deque(range(at_once, len(prompts) * choices))
        self._running: set[int] = set()
        for load in self._loads:
            load.add(len(self._waiting), self._tokens)

    def news(self, choice: int, tokens: int, is_finished: bool) -> None:
        """A choice got so many tokens, and whether it is over."""
        self._account.use(0, tokens)
        self._queue_deadline = math.inf
        prompt = choice // self._choices
        if prompt in self._unread:
            read = self._unread.pop(prompt)
            for load in self._loads:
                load.read(read)
        if choice in self._waiting:
            self._waiting.remove(choice)
            self._running.add(choice)
            for load in self._loads:
                load.started()
        if is_finished and choice in self._running:
            self._running.remove(choice)
            for load in self._loads:
                load.ended()
            self._hold_next()

    def charge(self, tokens: int) -> None:
        """Charge what a text has come to, which was not known before it was encoded.

        Raises Refusal; then the ticket is withdrawn.
        """
        try:
            self._account.check(tokens, requests=0)
        except Refusal:
            self.withdraw()
            raise
        self._account.use(0, tokens)
        self._tokens += tokens

    @property
    def seconds_left(self) -> float:
        """Until the next deadline; infinite when there is none."""
        return min(self._queue_deadline, self._deadline) - self._clock()

    def overdue(self) -> Refusal:
        """What to raise at the next deadline."""
        if self._deadline <= self._queue_deadline:
            message = f"not finished within {self._limits.total_seconds:g} seconds"
            return Refusal("deadline_exceeded", message)
        message = f"no token within {self._limits.queue_seconds:g} seconds"
        return Refusal("queue_timeout", message, self._total.seconds_until_room(1))

    def close(self) -> None:
        """Hold nothing any more; without effect the second time."""
        unread = sum(self._unread.values())
        self._unread.clear()
        for load in self._loads:
            load.read(unread, by_engine=False)
        for load in self._loads:
            for _ in self._waiting:
                load.left()
            for _ in self._running:
                load.ended()
        self._waiting.clear()
        self._running.clear()
        self._later.clear()

    def withdraw(self) -> None:
        """Close it, and give back what was charged: nothing was done."""
        self.close()
        self._account.use(-1, -self._tokens)

    def _hold_next(self) -> None:
        if self._later:
            self._waiting.add(self._later.popleft())
            for load in self._loads:
                load.add(1, 0)
