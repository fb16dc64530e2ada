"""How a request uses the state cache. Plain data, also on the wire."""

import msgspec

from server.snapshots.snapshot import SnapshotKind


class CacheUse(msgspec.Struct, frozen=True):
    """What a request may take from the state cache and leave there."""

    reads: bool = True
    writes: bool = True
    salt: str = ""
    """Requests with different ones share nothing."""
    boundaries: dict[int, SnapshotKind] = {}
    """After how many tokens of the prompt a snapshot is wanted, and of which kind."""
    implicit: bool = True
    """Whether snapshots are also left where nobody asked for them; if not, only at boundaries."""


READS_AND_WRITES = CacheUse()
"""What requests do that say nothing."""
