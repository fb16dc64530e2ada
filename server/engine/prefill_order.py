"""Which requests in prefill get the prompt tokens of a step."""

from collections import defaultdict
from operator import attrgetter

from server.engine.request import Request

_QUANTUM = 16
"""Tokens that are given at once: below it, loading a request's state costs more than they do."""

_MOST_PARTS = 16
"""Into about so many parts a large step is cut at most."""

_AGED_SHARE = 4
"""Of so many tokens one goes to the oldest request."""


class PrefillOrder:
    """Fair queueing among tenants, within a tenant the shortest first, and a share for the oldest.

    Tokens are given in quanta. The next one goes to the lowest priority value, then to the tenant
    that has had the fewest prompt tokens while it had prompts to read (a virtual token counter: a
    tenant that was away starts level with the least served, so idling earns nothing), then to
    the request with the least to read: that makes the mean wait as short as it can be, and no
    short prompt waits for a long one.

    What runs in the background gets what the others leave, and among itself the same.

    Alone this would starve long prompts and late priorities. So a quarter of all tokens goes to the
    request that came first, whoever it is: a request is through its prompt at the latest when four
    times its tokens, and those of all that came before it, have been computed.
    """

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._owed = 0  # tokens that went past the oldest request

    def share(self, requests: list[Request], budget: int) -> dict[Request, int]:
        """Chunk lengths, of those that get any: together the budget, or all that can be read.

        `requests` are in the order in which they came.
        """
        self._meet(requests)
        quantum = max(_QUANTUM, budget // _MOST_PARTS)
        lengths: dict[Request, int] = defaultdict(int)
        lanes = _by_tenant(requests)
        # Those that can take more in this step, in order.
        open_requests = dict.fromkeys(sorted(requests, key=attrgetter("background")))
        while budget and open_requests:
            oldest = next(iter(open_requests))
            request = oldest
            if self._owed < (_AGED_SHARE - 1) * quantum:
                request = min((lane[-1] for lane in lanes.values()), key=self._rank)
            room = _room(request) - lengths[request]
            tokens = min(quantum, room, budget)
            lengths[request] += tokens
            budget -= tokens
            self._note(request, tokens, request is oldest)
            if tokens == room:
                del open_requests[request]
                lane = lanes[request.task.tenant]
                lane.remove(request)
                if not lane:
                    del lanes[request.task.tenant]
        return lengths

    def _rank(self, request: Request) -> tuple[bool, int, int]:
        return request.background, request.task.priority, self._served[request.task.tenant]

    def _note(self, request: Request, tokens: int, is_oldest: bool) -> None:
        self._served[request.task.tenant] += tokens
        self._owed += tokens
        if is_oldest:
            self._owed = max(0, self._owed - _AGED_SHARE * tokens)

    def _meet(self, requests: list[Request]) -> None:
        """Forget the tenants that have no prompts any more; new ones start level with the least."""
        tenants = dict.fromkeys(request.task.tenant for request in requests)
        least = min((self._served[t] for t in tenants if t in self._served), default=0)
        self._served = {tenant: self._served.get(tenant, least) for tenant in tenants}


def _by_tenant(requests: list[Request]) -> dict[str, list[Request]]:
    """The requests of each tenant, the next one last."""
    lanes: dict[str, list[Request]] = defaultdict(list)
    for request in reversed(requests):
        lanes[request.task.tenant].append(request)
    for lane in lanes.values():
        lane.sort(key=_rank_in_lane, reverse=True)
    return lanes


def _rank_in_lane(request: Request) -> tuple[bool, int, int]:
    return request.background, request.task.priority, request.uncomputed


def _room(request: Request) -> int:
    return min(request.uncomputed, request.until_stop())
