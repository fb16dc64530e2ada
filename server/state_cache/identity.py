"""What the stored snapshots of a model are, and the proof that bytes are what was asked for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.state_cache.encoding import (
    SnapshotCodec,
    StoredSnapshot,
    StoredType,
    decode_snapshot,
    encode_snapshot,
)
from server.state_cache.keys import space_of
from server.state_cache.snapshot import Snapshot

TokenArray = npt.NDArray[np.int32]
"""[tokens], ids from the beginning of a sequence."""


class ForeignSnapshotError(ValueError):
    """A whole snapshot, but of another model, namespace or other token ids."""


@dataclass(frozen=True)
class ModelIdentity:
    """Encodes and decodes the snapshots of one model with what led to them."""

    codec: SnapshotCodec
    dtype: StoredType

    def space(self, namespace: str) -> str:
        """See space_of()."""
        return space_of(self.codec.fingerprint, namespace, self.dtype)

    def encode(self, namespace: str, token_ids: TokenArray, snapshot: Snapshot) -> bytes:
        """Raises SnapshotError for values that float16 cannot hold."""
        stored = StoredSnapshot(snapshot, self.codec.fingerprint, namespace, token_ids)
        return encode_snapshot(stored, self.dtype)

    def decode(self, payload: bytes, namespace: str, token_ids: TokenArray) -> StoredSnapshot:
        """The snapshot after exactly these ids.

        Raises SnapshotError for what is damaged, ForeignSnapshotError for what is something else.
        """
        stored = decode_snapshot(payload, self.codec.shapes, self.codec.vocab_size)
        found = stored.fingerprint, stored.namespace
        if found != (self.codec.fingerprint, namespace) or stored.token_ids is None:
            raise ForeignSnapshotError("state: of another model or namespace")
        if not np.array_equal(stored.token_ids, token_ids):
            raise ForeignSnapshotError("state: of other token ids")
        return stored
