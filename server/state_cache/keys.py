"""Keys by which snapshots are stored: digests, so that a key says nothing of a prompt."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from server.state_cache.encoding import StoredType

_DIGEST_BYTES = 16


def namespace_of(initial_state: str, salt: str, base: str) -> str:
    """All that states depend on besides tokens and model, and whose they are.

    `base` names the state that the tokens go on from. No part has a line break.
    """
    return f"{initial_state}\n{salt}\n{base}"


def space_of(fingerprint: str, namespace: str, dtype: StoredType = "float32") -> str:
    """What the snapshots have in common that can stand for each other, as a hexadecimal digest.

    The type belongs to it: what was rounded must not be found by one who asked for exact values.
    """
    text = json.dumps([fingerprint, namespace, dtype])
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def prefix_keys(
    space: str, token_ids: npt.NDArray[np.int32], lengths: Iterable[int]
) -> list[bytes]:
    """The keys of the prefixes of these lengths, which ascend, in one pass over the ids."""
    ids = np.ascontiguousarray(token_ids, "<i4")
    digest = hashlib.blake2b(bytes.fromhex(space), digest_size=_DIGEST_BYTES)
    keys, done = [], 0
    for length in lengths:
        digest.update(ids[done:length].data)
        keys.append(digest.digest())
        done = length
    return keys
