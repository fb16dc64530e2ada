"""Snapshots of a small model."""

import numpy as np

from server.state_cache.keys import prefix_keys, space_of
from server.state_cache.snapshot import Snapshot

SHAPES = {"shift": (2, 8), "wkv": (2, 2, 4, 4)}
VOCABULARY = 16
FINGERPRINT = "weights-1"


def ids(length, seed=0):
    return np.random.default_rng(seed).integers(0, 65_536, length).astype(np.int32)


def snapshot(tokens, logits=False, seed=0, scale=1.0):
    """Tells by its values after how many tokens it was taken."""
    rng = np.random.default_rng([seed, tokens])
    state = {
        name: (rng.standard_normal(shape) * scale).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    row = rng.standard_normal(VOCABULARY).astype(np.float32) if logits else None
    return Snapshot(tokens, state, row)


def same(one, other):
    """Whether two snapshots have the same bits."""
    states = all(one.state[n].tobytes() == other.state[n].tobytes() for n in SHAPES)
    return states and one.tokens == other.tokens


def key_of(token_ids, namespace="", fingerprint=FINGERPRINT):
    """(space, key) under which the tiers store a snapshot after these ids."""
    space = space_of(fingerprint, namespace)
    return space, prefix_keys(space, token_ids, [len(token_ids)])[0]
