"""Requests without a slot, and whose turn it is."""

from collections import OrderedDict
from itertools import islice

from server.engine.request import Request

_AGED_TURN = 4
"""Of so many turns while priorities differ, one does not ask for them."""


class WaitingQueue:
    """Priority first, then the tenants in turn, then the order of arrival.

    While priorities differ, every fourth turn goes to the next tenant and its oldest request
    whatever they are. So with N tenants the k-th request of each gets its turn within N·k turns
    while all priorities are the same, and within 5·N·k if not, however much the others have queued.

    A request that must wait for something besides a slot is set aside and stands in nobody's way.
    Everything takes constant time, but for the least of the different priorities.
    """

    def __init__(self) -> None:
        self._levels: dict[int, _Rotation] = {}
        self._all = _Rotation()
        self._aside: OrderedDict[str, Request] = OrderedDict()
        self._passed = 0  # turns since one did not ask for priorities

    def __len__(self) -> int:
        """How many requests wait, with those that were set aside."""
        return len(self._all) + len(self._aside)

    def add(self, request: Request, first: bool = False) -> None:
        """Queue a request, behind the others of its tenant or before them."""
        self._all.add(request, first)
        self._levels.setdefault(request.task.priority, _Rotation()).add(request, first)

    def next(self) -> Request | None:
        """Whose turn it is; None if all that wait are set aside."""
        return self._rotation().first() if self._levels else None

    def take(self, request: Request) -> None:
        """Remove the request that next() gave: it has had the turn of its tenant."""
        rotation = self._rotation()
        rotation.turn(request)
        if len(self._levels) > 1:
            self._passed = 0 if rotation is self._all else self._passed + 1
        self.remove(request)

    def set_aside(self, request: Request) -> None:
        """Pass a request over until bring_back() brings it back."""
        self.remove(request)
        self._aside[request.request_id] = request

    def bring_back(self, count: int) -> None:
        """Queue again the first of those that were set aside, where they stood: at the front."""
        for request in reversed(list(islice(self._aside.values(), count))):
            del self._aside[request.request_id]
            self.add(request, first=True)

    def remove(self, request: Request) -> None:
        """Remove a request wherever it stands."""
        if self._aside.pop(request.request_id, None) is None:
            self._all.remove(request)
            level = self._levels[request.task.priority]
            level.remove(request)
            if not level:
                del self._levels[request.task.priority]

    def _rotation(self) -> "_Rotation":
        if len(self._levels) > 1 and self._passed == _AGED_TURN - 1:
            return self._all
        return self._levels[min(self._levels)]


class _Rotation:
    """Tenants in turn, each with its requests in order."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, OrderedDict[str, Request]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, request: Request, first: bool) -> None:
        lane = self._lanes.setdefault(request.task.tenant, OrderedDict())
        lane[request.request_id] = request
        if first:
            lane.move_to_end(request.request_id, last=False)
        self._count += 1

    def first(self) -> Request:
        return next(iter(next(iter(self._lanes.values())).values()))

    def turn(self, request: Request) -> None:
        """The tenant of a request goes to the end."""
        self._lanes.move_to_end(request.task.tenant)

    def remove(self, request: Request) -> None:
        lane = self._lanes[request.task.tenant]
        del lane[request.request_id]
        if not lane:
            del self._lanes[request.task.tenant]
        self._count -= 1
