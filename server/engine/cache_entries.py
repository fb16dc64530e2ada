"""The snapshots in a cache and the paths that lead to them, with their sizes."""

from dataclasses import dataclass

from server.engine.cache_view import EntryInfo
from server.engine.radix_tree import Node, RadixTrees
from server.snapshots.snapshot import Snapshot, SnapshotKind


@dataclass(eq=False, slots=True)
class Entry:
    """A snapshot and the nodes at the ends of its paths; the first is the one it came by."""

    handle: int
    namespace: str
    kind: SnapshotKind
    snapshot: Snapshot
    nodes: "list[Node[Entry]]"
    created: float
    used: float
    hits: int = 0
    pinned: bool = False

    @property
    def gain(self) -> int:
        """Tokens it saves over the nearest snapshot above, on the path where these are most."""
        return max(node.gain() for node in self.nodes)

    def info(self, now: float) -> EntryInfo:
        """What an operator sees."""
        return EntryInfo(
            handle=self.handle,
            namespace=self.namespace,
            kind=self.kind,
            tokens=self.nodes[0].depth,
            aliases=len(self.nodes) - 1,
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
        self.by_snapshot: dict[Snapshot, Entry] = {}
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
        """A new entry; neither the path nor the snapshot may have one."""
        entry = Entry(self._next_handle, namespace, kind, snapshot, [], now, now)
        self._next_handle += 1
        self.by_handle[entry.handle] = entry
        self.by_snapshot[snapshot] = entry
        self._snapshot_bytes += snapshot.nbytes
        self.add_path(entry, path)
        return entry

    def add_path(self, entry: Entry, path: bytes) -> None:
        """Let a path lead to an entry; it must be free."""
        node = self.trees.make(entry.namespace, path)
        node.value = entry
        entry.nodes.append(node)

    def cut_path(self, entry: Entry, node: Node[Entry]) -> None:
        """The opposite of add_path()."""
        entry.nodes.remove(node)
        node.value = None
        self.trees.prune(entry.namespace, node)

    def drop(self, entry: Entry) -> None:
        """Forget an entry and all its paths."""
        for node in list(entry.nodes):
            self.cut_path(entry, node)
        del self.by_handle[entry.handle]
        del self.by_snapshot[entry.snapshot]
        self._snapshot_bytes -= entry.snapshot.nbytes
        self.set_pinned(entry, False)

    def set_snapshot(self, entry: Entry, snapshot: Snapshot) -> None:
        """Another snapshot of the same state."""
        del self.by_snapshot[entry.snapshot]
        self.by_snapshot[snapshot] = entry
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
        paths = {id(node) for entry in self.by_handle.values() for node in entry.nodes}
        for namespace, node in self.trees.nodes():
            if node.value is not None:
                assert id(node) in paths, "a path of no entry"
                paths.discard(id(node))
                assert node in node.value.nodes, "a path of another entry"
                assert node.value.namespace == namespace, "a path in another namespace"
        assert not paths, "a path that is not in the trees"
        for handle, entry in self.by_handle.items():
            assert handle == entry.handle < self._next_handle, "a wrong handle"
            assert entry.nodes, f"entry {handle} without a path"
            assert self.by_snapshot[entry.snapshot] is entry, f"entry {handle}: not by snapshot"
        assert len(self.by_snapshot) == len(self.by_handle), "a snapshot of no entry"
        sizes = [(entry.snapshot.nbytes, entry.pinned) for entry in self.by_handle.values()]
        assert self._snapshot_bytes == sum(size for size, _ in sizes), "bytes miscounted"
        pinned = sum(size for size, pinned in sizes if pinned)
        assert self.pinned_bytes == pinned, "pinned bytes miscounted"
