"""Tiers over stores, used as the engine does, and stores that fail."""

import threading
from contextlib import contextmanager
from dataclasses import replace

from server.state_cache.encoding import SnapshotCodec, StoredSnapshot, encode_snapshot
from server.state_cache.store import StoreUnavailable
from server.state_cache.tiers import SnapshotTiers
from tests.state_cache.stored import FINGERPRINT, SHAPES, VOCABULARY, ids, key_of, same, snapshot

CODEC = SnapshotCodec(FINGERPRINT, SHAPES, VOCABULARY)
IDS = ids(800)


@contextmanager
def tiers_over(*stores, **options):
    tiers = SnapshotTiers(stores, CODEC, **options)
    try:
        yield tiers
    finally:
        tiers.close()


def put(tiers, tokens, logits=False, kind="reply", namespace="", token_ids=IDS):
    tiers.put(namespace, token_ids[:tokens], snapshot(tokens, logits), kind)


def fetch(tiers, tokens=800, beyond=0, namespace="", token_ids=IDS):
    found = tiers.fetch(namespace, token_ids[:tokens], beyond)
    while not found.done:
        tiers.wait(10)
    return found


def depth(found):
    """After how many tokens, once the values are seen to be those of then; 0: nothing."""
    if found.result is None:
        return 0
    result = found.result.snapshot
    assert same(result, snapshot(result.tokens))
    return result.tokens


def write_to(store, tokens, wrong=None):
    """As another process would have, but for what is wrong about it."""
    stored = StoredSnapshot(snapshot(tokens), FINGERPRINT, "", IDS[:tokens])
    payload = encode_snapshot(replace(stored, **wrong or {}))
    store.write(*key_of(IDS[:tokens]), tokens, False, payload)


def of(tiers, name="disk"):
    return tiers.counters()[name]


class FailingStore:
    """Raises what it is given, or waits until it is let go."""

    name = "shared"
    errors = 0

    def __init__(self, error=None):
        self.error = error
        self.gate = threading.Event()

    def _fail(self, *_):
        if self.error is not None:
            raise self.error
        self.gate.wait()
        raise StoreUnavailable("let go")

    prepare = lengths = present = read = write = remove = clear = usage = _fail

    def close(self):
        pass
