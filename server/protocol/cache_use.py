"""How a request uses the state cache. Plain data, also on the wire."""

from typing import Literal

import msgspec

SnapshotKind = Literal[
    "system", "message", "prompt", "reply", "spaced", "breakpoint", "junction", "restored"
]
"""Where a snapshot was taken: at the end of the system message, of another message, of the whole
prompt, or of the reply; at a distance inside a long prompt; where the client asked for it; where
two sequences part; or before it came back from a tier below memory."""


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
