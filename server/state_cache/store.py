"""What a tier of the cache is, at the level of bytes."""

from collections.abc import Sequence
from typing import Protocol

from server.protocol.tier_view import TierName

MOST_LENGTHS = 4096
"""Lengths that a store tells of one space at most."""


class StoreUnavailable(Exception):
    """The store cannot do that now; it has logged why, once. One line."""


class SnapshotStore(Protocol):
    """Payloads by key. Keys are digests of a space and token ids (keys.py), unique over all spaces.

    What a store says is a hint: it may be shared with others and may be damaged, so whoever reads a
    payload verifies it. Any two threads may use a store at once. All methods raise
    StoreUnavailable and nothing else, after a bounded time.
    """

    name: TierName

    @property
    def errors(self) -> int:
        """Failures so far, of the file or the connection."""

    def prepare(self) -> None:
        """What is better done at the start than with the first use; need not be called."""

    def lengths(self, space: str, above: int, up_to: int) -> list[int]:
        """Token counts in (above, up_to] at which the space may have payloads, deepest first."""

    def present(self, keys: Sequence[bytes]) -> dict[bytes, bool]:
        """Those of the keys that are stored, and whether they have logits."""

    def read(self, space: str, key: bytes, tokens: int) -> bytes | None:
        """The payload, which counts as used; None if there is none."""

    def write(self, space: str, key: bytes, tokens: int, has_logits: bool, payload: bytes) -> bool:
        """Store a payload in place of what is there; False if it is too large for this store."""

    def remove(self, key: bytes) -> None:
        """Forget a payload, if it is there."""

    def clear(self) -> None:
        """Forget all payloads, of all models."""

    def usage(self) -> tuple[int, int]:
        """Entries and bytes, as cheaply as they can be told."""

    def close(self) -> None:
        """Let go of files and connections. Later calls open them again."""
