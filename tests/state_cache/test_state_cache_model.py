"""The state cache against a slow and obvious one, over any order of operations."""

from dataclasses import dataclass
from math import log2

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.state_cache.radix_tree import NODE_BYTES, TOKEN_BYTES, path_bytes
from server.state_cache.snapshot import Snapshot
from server.state_cache.state_cache import StateCache

LIMIT = 14_000  # a handful of entries
HALF_LIFE = 10.0
JUNCTION = 2

NAMESPACES = st.sampled_from(["one", "other"])
INDEX = st.integers(0, 99)
SELDOM = st.sampled_from([False, False, False, True])
# A path that is there, cut and continued: see StateCacheMachine.path().
PATHS = st.tuples(
    INDEX, st.sampled_from([9, 9, 0, 1, 2, 3, 4, 5]), st.lists(st.integers(0, 2), max_size=3)
)
SNAPSHOTS = st.lists(
    st.tuples(PATHS, st.sampled_from([0, 100, 300, 600, LIMIT // 4]), st.booleans()),
    min_size=1,
    max_size=4,
)


def take(tokens, size, with_logits):
    logits = np.zeros(64, np.float32) if with_logits else None
    return Snapshot(tokens, {"wkv": np.zeros(size, np.float32)}, logits)


@dataclass(eq=False)
class Kept:
    """An entry of the naive cache."""

    handle: int | None
    namespace: str
    snapshot: Snapshot
    path: tuple
    used: float
    hits: int = 0
    pinned: bool = False


class NaiveCache:
    """Lists and tuples; everything is computed anew each time."""

    def __init__(self):
        self.kept = []
        self.now = 0.0

    def paths(self, namespace):
        return {k.path: k for k in self.kept if k.namespace == namespace}

    def nbytes(self):
        total = sum(k.snapshot.nbytes for k in self.kept)
        for namespace in {k.namespace for k in self.kept}:
            paths = self.paths(namespace)
            prefixes = {path[:n] for path in paths for n in range(1, len(path) + 1)}
            forks = [p for p in prefixes if sum(q[:-1] == p for q in prefixes) > 1]
            nodes = len({*paths, *forks, ()})
            total += TOKEN_BYTES * len(prefixes) + NODE_BYTES * nodes
        return total

    def worth(self, kept):
        paths = self.paths(kept.namespace)
        length = len(kept.path)
        gain = length - max((n for n in range(1, length) if kept.path[:n] in paths), default=0)
        size = kept.snapshot.nbytes + NODE_BYTES + TOKEN_BYTES * gain
        return log2(gain / size) + kept.used / HALF_LIFE

    def is_too_large(self, nbytes, path):
        pinned = sum(k.snapshot.nbytes for k in self.kept if k.pinned)
        return pinned + nbytes + path_bytes(len(path)) > LIMIT

    def make_room_for(self, new):
        while self.nbytes() > LIMIT:
            # The newest handle is still None, but the new one is no victim.
            victims = [k for k in self.kept if not k.pinned and k is not new]
            if not victims:
                return False
            self.kept.remove(min(victims, key=lambda k: (self.worth(k), k.handle)))
        return True

    def store(self, namespace, path, snapshot):
        """The new entry, or None."""
        if self.is_too_large(snapshot.nbytes, path):
            return None
        new = Kept(None, namespace, snapshot, path, self.now)
        self.kept.append(new)
        if self.make_room_for(new):
            return new
        self.kept.remove(new)
        return None

    def insert(self, namespace, path, snapshot):
        old = self.paths(namespace).get(path)
        if old is None:
            return self.store(namespace, path, snapshot)
        old.used = self.now
        if snapshot.logits is None or old.snapshot.logits is not None:
            return old
        before = old.snapshot
        nbytes = snapshot.nbytes - (before.nbytes if old.pinned else 0)
        if not self.is_too_large(nbytes, path):
            old.snapshot = snapshot
            if not self.make_room_for(old):
                old.snapshot = before
        return old

    def match(self, namespace, path, at_most):
        """(entry or None, its length, junction)"""
        paths = self.paths(namespace)
        prefixes = {p[:n] for p in paths for n in range(1, len(p) + 1)}
        shared = max((n for n in range(len(path) + 1) if path[:n] in prefixes), default=0)
        held = [n for n in range(1, len(path) + 1) if path[:n] in paths]
        junction = shared if shared - max(held, default=0) >= JUNCTION else 0
        useful = [
            n
            for n in held
            if n <= at_most and (n < len(path) or paths[path].snapshot.logits is not None)
        ]
        if not useful:
            return None, 0, junction
        found = paths[path[: useful[-1]]]
        found.hits += 1
        found.used = self.now
        return found, useful[-1], junction


class StateCacheMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.naive = NaiveCache()
        self.cache = StateCache(LIMIT, lambda: self.naive.now, HALF_LIFE, JUNCTION)
        self.matches = self.saved = 0

    def agree(self, handle, kept):
        """Both returned the same entry, or none; a new one's handle is noted."""
        assert (handle is None) == (kept is None)
        if kept is not None:
            kept.handle = kept.handle or handle
            assert kept.handle == handle

    def path(self, namespace, drawn):
        index, cut, more = drawn
        paths = sorted(self.naive.paths(namespace)) or [()]
        return (paths[index % len(paths)][:cut] + tuple(more))[:8] or (0,)

    def choose(self, index):
        return self.naive.kept[index % len(self.naive.kept)]

    def some_left(self):
        return bool(self.naive.kept)

    @rule(namespace=NAMESPACES, snapshots=SNAPSHOTS)
    def insert(self, namespace, snapshots):
        for drawn, size, with_logits in snapshots:
            path = self.path(namespace, drawn)
            snapshot = take(len(path), size, with_logits)
            handle = self.cache.insert(namespace, path, snapshot)
            self.agree(handle, self.naive.insert(namespace, path, snapshot))

    @rule(
        namespace=NAMESPACES,
        paths=st.lists(PATHS, min_size=1, max_size=4),
        at_most=st.just(9) | st.integers(0, 8),
    )
    def match(self, namespace, paths, at_most):
        for path in (self.path(namespace, drawn) for drawn in paths):
            match = self.cache.match(namespace, path, None if at_most > len(path) else at_most)
            kept, tokens, junction = self.naive.match(namespace, path, at_most)
            self.agree(match.handle, kept)
            assert match.snapshot is (kept.snapshot if kept else None)
            assert (match.tokens, match.junction) == (tokens, junction)
            self.matches += 1
            self.saved += tokens

    @precondition(some_left)
    @rule(index=INDEX, pinned=st.booleans())
    def pin(self, index, pinned):
        kept = self.choose(index)
        kept.pinned = pinned
        assert self.cache.pin(kept.handle) if pinned else self.cache.unpin(kept.handle)

    @precondition(some_left)
    @rule(index=INDEX, really=SELDOM)
    def remove(self, index, really):
        if not really:
            return
        kept = self.choose(index)
        self.naive.kept.remove(kept)
        assert self.cache.remove(kept.handle)
        for call in (self.cache.pin, self.cache.unpin, self.cache.remove):
            assert not call(kept.handle)

    @rule(namespace=NAMESPACES | st.none(), really=SELDOM)
    def clear(self, namespace, really):
        if really:
            self.cache.clear(namespace)
            kept = self.naive.kept
            self.naive.kept = [k for k in kept if namespace not in (None, k.namespace)]

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds):
        self.naive.now += seconds

    @invariant()
    def both_hold_the_same(self):
        self.cache.check_integrity()
        found = {
            (e.handle, e.namespace, e.tokens, e.nbytes, e.hits, e.pinned)
            for e in self.cache.entries()
        }
        assert found == {
            (k.handle, k.namespace, len(k.path), k.snapshot.nbytes, k.hits, k.pinned)
            for k in self.naive.kept
        }

    @invariant()
    def counters_add_up(self):
        counters = self.cache.counters
        assert counters.nbytes == self.naive.nbytes() <= LIMIT
        gone = counters.evicted + counters.removed + counters.cleared
        assert counters.entries == len(self.naive.kept) == counters.inserts - gone
        hits = counters.exact_hits + counters.prefix_hits
        assert hits + counters.unknown + counters.no_snapshot == self.matches
        assert counters.tokens_saved == self.saved


StateCacheMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
TestStateCacheMachine = StateCacheMachine.TestCase
