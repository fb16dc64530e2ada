"""How a request uses the state cache. Plain data, also on the wire."""

import msgspec


class CacheUse(msgspec.Struct, frozen=True):
    """What a request may take from the state cache and leave there."""

    reads: bool = True
    writes: bool = True
    salt: str = ""
    """Requests with different ones share nothing."""
    boundaries: tuple[int, ...] = ()
    """After how many tokens of the prompt other prompts may well go on differently."""


READS_AND_WRITES = CacheUse()
"""What requests do that say nothing."""
