"""How many connections there may be, and who has to leave when there are more."""

import itertools
import logging
import resource
from typing import Protocol

log = logging.getLogger(__name__)

RESERVE = 32
"""Connections beyond the limit, for probes only, which may keep them for a second."""

_OTHER_FILES = 512
"""Descriptors that databases, workers, models and uploads need besides connections."""

_LOOKED_AT = 16


class Idle(Protocol):
    """A connection without a request."""

    def leave(self) -> bool:
        """Close, unless what was answered is still being sent."""


class ConnectionLimit:
    """Makes room by closing the connection that has been without a request for the longest."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._idle: dict[Idle, None] = {}

    def set_idle(self, connection: Idle) -> None:
        """It has no request from now on."""
        self._idle[connection] = None

    def set_busy(self, connection: Idle) -> None:
        """It has a request, or is gone."""
        self._idle.pop(connection, None)

    def make_room(self) -> bool:
        """Whether a connection could be closed."""
        for connection in list(itertools.islice(self._idle, _LOOKED_AT)):
            del self._idle[connection]
            if connection.leave():
                return True
            self._idle[connection] = None
        return False


def with_enough_files(most: int) -> int:
    """Raise the process's limit of open files for so many connections; returns how many fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + RESERVE + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return most
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    fitting = allowed - RESERVE - _OTHER_FILES
    if fitting >= most:
        return most
    fitting = max(fitting, allowed // 4)
    log.warning(
        "http.max_connections: %d connections are accepted in place of %d; raise the limit of open "
        "files (%d) to %d",
        fitting,
        most,
        allowed,
        wanted,
    )
    return fitting
