"""What an operator sees of the tiers below memory. Plain data."""

from dataclasses import dataclass
from typing import Literal

TierName = Literal["disk", "shared"]


@dataclass
class TierCounters:
    """What has happened in this process since its start, but for the last two.

    Each fetch that asks a tier is a hit, absent or unavailable there.
    """

    reads: int = 0
    """Fetches that asked this tier."""
    hits: int = 0
    """Fetches that it answered."""
    absent: int = 0
    """Fetches for which it had nothing, or nothing deeper than the tier that answered."""
    unavailable: int = 0
    """Fetches that it failed, or did not answer in time."""
    corrupt: int = 0
    """Payloads that were removed because they were damaged."""
    foreign: int = 0
    """Payloads that were removed because they were of another model, namespace or other ids."""
    tokens_saved: int = 0
    """Token ids that need not be computed thanks to the hits, over what memory had."""
    writes: int = 0
    """Snapshots that were written."""
    written_bytes: int = 0
    dropped: int = 0
    """Snapshots that were worth writing but were not: the queue was full, or the tier unavailable
    or too small."""
    refused: int = 0
    """Snapshots with values that float16 cannot hold."""
    errors: int = 0
    """Failures of the file or the connection."""
    entries: int = 0
    """Snapshots on disk, of all processes; in the shared tier, keys of the whole database."""
    nbytes: int = 0
    """Bytes in use on disk; in the shared tier, memory of the whole server."""
