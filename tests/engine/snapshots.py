"""What tests of the state cache say: snapshots of a size, ids, a clock that stands still."""

import numpy as np

from server.state_cache.snapshot import Snapshot
from server.state_cache.state_cache import StateCache

STATE = 1 << 20  # bytes of a state, so that paths hardly count
HALF_LIFE = 100.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def take(tokens, nbytes=0, logits=True):
    return Snapshot(
        tokens,
        {"wkv": np.zeros(nbytes // 4, np.float32)},
        np.zeros(4, np.float32) if logits else None,
    )


def text(seed, length):
    return np.random.default_rng(seed).integers(0, 65_536, length).tolist()


def keep(cache, ids, namespace="tenant", **how):
    return cache.insert(namespace, ids, take(len(ids), **how))


def look(cache, ids, namespace="tenant"):
    match = cache.match(namespace, ids)
    return match.tokens, match.junction


def small_cache(entries):
    clock = Clock()
    return StateCache(entries * STATE + STATE // 2, clock, HALF_LIFE), clock
