"""The snapshots in a cache and the paths that lead to them, with their sizes."""

from dataclasses import dataclass

from server.protocol.cache_use import SnapshotKind
from server.protocol.cache_view import EntryInfo
from server.state_cache.radix_tree import Node, RadixTrees
from server.state_cache.snapshot import Snapshot


@dataclass(eq=False, slots=True)
class Entry:
    """A snapshot and the node at the end of its path."""

    handle: int
    namespace: str
    kind: SnapshotKind
    snapshot: Snapshot
    node: "Node[Entry]"
    created: float
    used: float
    hits: int = 0
    pinned: bool = False

    def info(self, now: float) -> EntryInfo:
        """What an operator sees."""
        return EntryInfo(
            handle=self.handle,
            namespace=self.namespace,
            kind=self.kind,
            tokens=self.node.depth,
            nbytes=self.snapshot.nbytes,
            hits=self.hits,
            age_seconds=now - self.created,
            idle_seconds=now - self.used,
            pinned=self.pinned,
        )


class CacheEntries:
    """Keeps trees, handles and sizes in step; which entries there should be is for others."""

    def __init__(self) -> None:
        self.trees = RadixTrees[Entry]()
        self.by_handle: dict[int, Entry] = {}
        self.pinned_bytes = 0
        self._snapshot_bytes = 0
        self._next_handle = 1  # never 0

    @property
    def nbytes(self) -> int:
        """Size of all snapshots and paths in bytes."""
        return self._snapshot_bytes + self.trees.nbytes

    def add(
        self, namespace: str, path: bytes, snapshot: Snapshot, kind: SnapshotKind, now: float
    ) -> Entry:
        """A new entry; the path must be free."""
        node = self.trees.make(namespace, path)
        node.value = entry = Entry(self._next_handle, namespace, kind, snapshot, node, now, now)
        self._next_handle += 1
        self.by_handle[entry.handle] = entry
        self._snapshot_bytes += snapshot.nbytes
        return entry

    def drop(self, entry: Entry) -> None:
        """Forget an entry and its path."""
        entry.node.value = None
        self.trees.prune(entry.namespace, entry.node)
        del self.by_handle[entry.handle]
        self._snapshot_bytes -= entry.snapshot.nbytes
        self.set_pinned(entry, False)

    def set_snapshot(self, entry: Entry, snapshot: Snapshot) -> None:
        """Another snapshot of the same state."""
        grown = snapshot.nbytes - entry.snapshot.nbytes
        self._snapshot_bytes += grown
        self.pinned_bytes += grown if entry.pinned else 0
        entry.snapshot = snapshot

    def set_pinned(self, entry: Entry, pinned: bool) -> None:
        """Note whether an entry is pinned."""
        self.pinned_bytes += entry.snapshot.nbytes * (pinned - entry.pinned)
        entry.pinned = pinned

    def check_integrity(self) -> None:
        """For tests: raises AssertionError where trees, handles and sizes differ."""
        self.trees.check_integrity()
        in_trees = 0
        for namespace, node in self.trees.nodes():
            if node.value is not None:
                in_trees += 1
                assert node.value.node is node, "a path of another entry"
                assert self.by_handle.get(node.value.handle) is node.value, "a path of no entry"
                assert node.value.namespace == namespace, "a path in another namespace"
        assert in_trees == len(self.by_handle), "an entry that is not in the trees"
        for handle, entry in self.by_handle.items():
            assert handle == entry.handle < self._next_handle, "a wrong handle"
        sizes = [(entry.snapshot.nbytes, entry.pinned) for entry in self.by_handle.values()]
        assert self._snapshot_bytes == sum(size for size, _ in sizes), "bytes miscounted"
        pinned = sum(size for size, pinned in sizes if pinned)
        assert self.pinned_bytes == pinned, "pinned bytes miscounted"
