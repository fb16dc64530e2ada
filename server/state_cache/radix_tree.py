"""Values by sequences of token ids: radix trees, one for each namespace.

A path from a root spells a sequence. Edges hold several ids each, so a tree has at most twice as
many nodes as values, however long the sequences are. Inside, ids are packed into bytes, four for
each: compared as one piece of memory, and a slice never keeps what it is cut from.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

TokenIds = Sequence[int] | npt.NDArray[np.integer]
V = TypeVar("V")

TOKEN_BYTES = 4
NODE_BYTES = 1024
"""What a node takes beside its ids, with the small objects that belong to its value (measured:
about 0.9 KiB)."""


def pack_ids(token_ids: TokenIds) -> bytes:
    """Token ids as int32. An int32 array is packed some fifty times as fast as a list."""
    if isinstance(token_ids, np.ndarray):
        return token_ids.astype(np.int32, copy=False).tobytes()
    return array("i", token_ids).tobytes()


def path_bytes(length: int) -> int:
    """Size of the tree that holds one sequence of `length` ids and nothing else, in bytes."""
    return TOKEN_BYTES * length + 2 * NODE_BYTES


class Node(Generic[V]):
    """The end of an edge; every node but a root has a value or at least two children."""

    __slots__ = ("children", "depth", "edge", "parent", "value")

    def __init__(self, parent: "Node[V] | None", edge: bytes, depth: int) -> None:
        self.parent = parent
        self.edge = edge  # the ids between the parent and here
        self.depth = depth  # how many ids there are between the root and here
        self.children: dict[bytes, Node[V]] = {}  # by the first id of their edges
        self.value: V | None = None

    def gain(self) -> int:
        """How many tokens it is deeper than the nearest node above it that has a value."""
        above = self.parent
        while above is not None and above.value is None:
            above = above.parent
        return self.depth - (above.depth if above is not None else 0)

    def nearest_below(self) -> Iterator["Node[V]"]:
        """The nodes with values under this one that have no other value in between."""
        levels = [iter(self.children.values())]
        while levels:
            node = next(levels[-1], None)
            if node is None:
                levels.pop()
            elif node.value is not None:
                yield node
            else:
                levels.append(iter(node.children.values()))


@dataclass(frozen=True)
class Walk(Generic[V]):
    """How far a sequence runs along a tree."""

    nodes: list[Node[V]]
    """Those it passes or reaches, the root first; none where the namespace has no tree."""
    tokens: int
    """Length of what it shares with the tree; it may end in the middle of an edge."""


class RadixTrees(Generic[V]):
    """The trees of all namespaces. A namespace without values has none."""

    def __init__(self) -> None:
        self._roots: dict[str, Node[V]] = {}
        self._edge_bytes = 0
        self._nodes = 0

    @property
    def nbytes(self) -> int:
        """Size of all trees in bytes, without their values."""
        return self._edge_bytes + NODE_BYTES * self._nodes

    def walk(self, namespace: str, path: bytes) -> Walk[V]:
        """Follow a sequence as far as the tree goes."""
        node = self._roots.get(namespace)
        if node is None:
            return Walk([], 0)
        nodes, place = [node], 0
        while child := node.children.get(path[place : place + TOKEN_BYTES]):
            if not path.startswith(child.edge, place):
                return Walk(nodes, node.depth + _shared_length(child.edge, path, place))
            node = child
            nodes.append(node)
            place += len(node.edge)
        return Walk(nodes, node.depth)

    def find(self, namespace: str, path: bytes) -> Node[V] | None:
        """The node of exactly this sequence, if it has a value."""
        nodes = self.walk(namespace, path).nodes
        is_exact = bool(nodes) and nodes[-1].depth * TOKEN_BYTES == len(path)
        return nodes[-1] if is_exact and nodes[-1].value is not None else None

    def make(self, namespace: str, path: bytes) -> Node[V]:
        """The node of exactly this sequence, which must not be empty.

        The caller gives it a value before anything else happens to the trees.
        """
        assert path
        if namespace not in self._roots:
            self._roots[namespace] = Node(None, b"", 0)
            self._nodes += 1
        walk = self.walk(namespace, path)
        node, place = walk.nodes[-1], TOKEN_BYTES * walk.tokens
        if walk.tokens > node.depth:
            node = self._split(node, path[TOKEN_BYTES * node.depth : place])
        if place < len(path):
            node = self._attach(node, path[place:])
        return node

    def prune(self, namespace: str, node: Node[V]) -> None:
        """Take away what is of no use once this node has lost its value.

        A leaf goes with its edge; a node with one child becomes part of that child's edge.
        """
        assert node.value is None
        parent = node.parent
        if not node.children and parent is not None:
            del parent.children[_first(node.edge)]
            node.parent = None
            self._edge_bytes -= len(node.edge)
            self._nodes -= 1
            node = parent
        if node.parent is None:
            if not node.children:
                del self._roots[namespace]
                self._nodes -= 1
        elif node.value is None and len(node.children) == 1:
            self._join(node, node.parent)

    def nodes(self) -> Iterator[tuple[str, Node[V]]]:
        """All nodes with their namespaces, the roots as well."""
        for namespace, root in self._roots.items():
            pending = [root]
            while pending:
                node = pending.pop()
                yield namespace, node
                pending.extend(node.children.values())

    def check_integrity(self) -> None:
        """For tests: raises AssertionError where something is not as it is described here."""
        edge_bytes = nodes = 0
        for namespace, node in self.nodes():
            where = f"{namespace}: node at {node.depth}"
            nodes += 1
            edge_bytes += len(node.edge)
            if node.parent is None:
                assert node is self._roots[namespace], f"{where}: not in the tree"
                assert node.depth == len(node.edge) == 0, f"{where}: a root with an edge"
                assert node.value is None, f"{where}: a root with a value"
                assert node.children, f"{where}: a tree without values"
            else:
                assert node.value is not None or len(node.children) > 1, f"{where}: of no use"
            for first, child in node.children.items():
                assert child.parent is node, f"{where}: not its child's parent"
                assert child.edge, f"{where}: empty edge"
                assert _first(child.edge) == first, f"{where}: child under the wrong id"
                ids = len(child.edge) // TOKEN_BYTES
                assert child.depth == node.depth + ids, f"{where}: wrong depth below"
        assert (edge_bytes, nodes) == (self._edge_bytes, self._nodes), "miscounted"

    def _attach(self, parent: Node[V], edge: bytes) -> Node[V]:
        node = Node(parent, edge, parent.depth + len(edge) // TOKEN_BYTES)
        parent.children[_first(edge)] = node
        self._edge_bytes += len(edge)
        self._nodes += 1
        return node

    def _split(self, parent: Node[V], edge: bytes) -> Node[V]:
        """A new node after `edge`, with which one that leads on from the parent begins."""
        lower = parent.children[_first(edge)]
        self._edge_bytes -= len(edge)
        upper = self._attach(parent, edge)
        lower.edge = lower.edge[len(edge) :]
        lower.parent = upper
        upper.children[_first(lower.edge)] = lower
        return upper

    def _join(self, node: Node[V], parent: Node[V]) -> None:
        """Make a node without a value part of its only child's edge."""
        (child,) = node.children.values()
        child.edge = node.edge + child.edge
        child.parent = parent
        parent.children[_first(child.edge)] = child
        node.parent = None
        node.children.clear()
        self._nodes -= 1


def _first(edge: bytes) -> bytes:
    return edge[:TOKEN_BYTES]


def _shared_length(edge: bytes, path: bytes, place: int) -> int:
    """With how many ids of an edge the path goes on from this byte; not with all."""
    count = min(len(edge), len(path) - place) // TOKEN_BYTES
    ours = np.frombuffer(edge, np.int32, count)
    differs = ours != np.frombuffer(path, np.int32, count, place)
    first = int(differs.argmax())
    return first if differs[first] else count
