"""Values by sequences of token ids: radix trees, one for each namespace.

A path from a root spells a sequence. Edges hold several ids each, so a tree has at most twice as
many nodes as values, however long the sequences are.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

TokenArray = npt.NDArray[np.int32]
TokenIds = Sequence[int] | npt.NDArray[np.integer]
V = TypeVar("V")

TOKEN_BYTES = 4
NODE_BYTES = 1024
"""What a node takes beside its ids, with the small objects that belong to its value (measured:
about 0.9 KiB)."""


def token_array(token_ids: TokenIds) -> TokenArray:
    """[T] int32. Whoever looks up one sequence several times should convert it only once."""
    if isinstance(token_ids, np.ndarray):
        return token_ids.astype(np.int32, copy=False)
    return np.frombuffer(array("i", token_ids), np.int32)


def path_bytes(length: int) -> int:
    """Size of the tree that holds one sequence of `length` ids and nothing else, in bytes."""
    return TOKEN_BYTES * length + 2 * NODE_BYTES


class Node(Generic[V]):
    """The end of an edge; every node but a root has a value or at least two children."""

    __slots__ = ("children", "depth", "edge", "parent", "value")

    def __init__(self, parent: "Node[V] | None", edge: TokenArray, depth: int) -> None:
        self.parent = parent
        self.edge = edge  # the ids between the parent and here, an array of its own
        self.depth = depth  # how many ids there are between the root and here
        self.children: dict[int, Node[V]] = {}  # by the first id of their edges
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
        self._tokens = 0
        self._nodes = 0

    @property
    def nbytes(self) -> int:
        """Size of all trees in bytes, without their values."""
        return TOKEN_BYTES * self._tokens + NODE_BYTES * self._nodes

    def walk(self, namespace: str, ids: TokenArray) -> Walk[V]:
        """Follow a sequence as far as the tree goes."""
        node = self._roots.get(namespace)
        if node is None:
            return Walk([], 0)
        nodes = [node]
        while node.depth < len(ids):
            child = node.children.get(int(ids[node.depth]))
            if child is None:
                break
            shared = _shared_length(child.edge, ids[node.depth : child.depth])
            if shared < len(child.edge):
                return Walk(nodes, node.depth + shared)
            nodes.append(child)
            node = child
        return Walk(nodes, node.depth)

    def find(self, namespace: str, ids: TokenArray) -> Node[V] | None:
        """The node of exactly this sequence, if it has a value."""
        nodes = self.walk(namespace, ids).nodes
        exact = bool(nodes) and nodes[-1].depth == len(ids) and nodes[-1].value is not None
        return nodes[-1] if exact else None

    def make(self, namespace: str, ids: TokenArray) -> Node[V]:
        """The node of exactly this sequence, which must not be empty.

        The caller gives it a value before anything else happens to the trees.
        """
        assert len(ids)
        if namespace not in self._roots:
            self._roots[namespace] = Node(None, np.empty(0, np.int32), 0)
            self._nodes += 1
        walk = self.walk(namespace, ids)
        node = walk.nodes[-1]
        if walk.tokens > node.depth:
            node = self._split(node.children[int(ids[node.depth])], walk.tokens)
        if walk.tokens < len(ids):
            node = self._attach(node, ids[walk.tokens :])
        return node

    def prune(self, namespace: str, node: Node[V]) -> None:
        """Take away what is of no use once this node has lost its value.

        A leaf goes with its edge; a node with one child becomes part of that child's edge.
        """
        assert node.value is None
        parent = node.parent
        if not node.children and parent is not None:
            del parent.children[int(node.edge[0])]
            node.parent = None
            self._tokens -= len(node.edge)
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
        tokens = nodes = 0
        for namespace, node in self.nodes():
            where = f"{namespace}: node at {node.depth}"
            nodes += 1
            tokens += len(node.edge)
            assert node.edge.base is None, f"{where}: keeps another array alive"
            if node.parent is None:
                assert node is self._roots[namespace], f"{where}: not in the tree"
                assert node.depth == len(node.edge) == 0, f"{where}: a root with an edge"
                assert node.value is None, f"{where}: a root with a value"
                assert node.children, f"{where}: a tree without values"
            else:
                assert node.value is not None or len(node.children) > 1, f"{where}: of no use"
            for first, child in node.children.items():
                assert child.parent is node, f"{where}: not its child's parent"
                assert len(child.edge), f"{where}: empty edge"
                assert child.edge[0] == first, f"{where}: child under the wrong id"
                assert child.depth == node.depth + len(child.edge), f"{where}: wrong depth below"
        assert (tokens, nodes) == (self._tokens, self._nodes), "tokens or nodes miscounted"

    def _attach(self, parent: Node[V], edge: TokenArray) -> Node[V]:
        node = Node(parent, edge.copy(), parent.depth + len(edge))
        parent.children[int(edge[0])] = node
        self._tokens += len(edge)
        self._nodes += 1
        return node

    def _split(self, lower: Node[V], depth: int) -> Node[V]:
        """A new node in the middle of the edge above `lower`. Copies: a view keeps its base."""
        parent = lower.parent
        assert parent is not None
        place = depth - parent.depth
        upper = Node(parent, lower.edge[:place].copy(), depth)
        parent.children[int(upper.edge[0])] = upper
        lower.edge = lower.edge[place:].copy()
        lower.parent = upper
        upper.children[int(lower.edge[0])] = lower
        self._nodes += 1
        return upper

    def _join(self, node: Node[V], parent: Node[V]) -> None:
        """Make a node without a value part of its only child's edge."""
        (child,) = node.children.values()
        child.edge = np.concatenate((node.edge, child.edge))
        child.parent = parent
        parent.children[int(child.edge[0])] = child
        node.parent = None
        node.children.clear()
        self._nodes -= 1


def _shared_length(edge: TokenArray, ids: TokenArray) -> int:
    """How many ids are the same; the first are."""
    length = min(len(edge), len(ids))
    if length == 1:
        return 1
    differs = edge[:length] != ids[:length]
    first = int(differs.argmax())
    return first if differs[first] else length
