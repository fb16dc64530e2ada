"""Log-probabilities of the tokens of prompts, and those of the latest prompts, for others to share.

To know them a prompt has to be read from its first token on, which a state from the cache saves.
Many prompts are scored that begin alike: the answers to one question. So what has been computed is
kept, and one that begins like another takes over what it knows, and then the state.
"""

from collections import OrderedDict
from itertools import islice

import numpy as np
import numpy.typing as npt

from server.sampling.log_softmax import LogprobRows
from server.sampling.token_logprobs import TokenLogprobs
from server.state_cache.radix_tree import (
    TOKEN_BYTES,
    Node,
    RadixTrees,
    pack_ids,
    path_bytes,
)

MOST_BYTES = 32 << 20
"""Of what is kept: prompts of 16,000 ids in all for each MiB, beside one most likely token."""

_LOOK_AT = 8
"""Kept prompts that begin alike, of which the one is taken that knows most; some may have ended
before they were read to their end."""


class PromptLogprobs:
    """Of the tokens of one prompt, as far as they are known; the first one has none."""

    def __init__(self, prompt: npt.NDArray[np.int32], count: int, start: int = 0) -> None:
        """Each with the `count` most likely tokens; not of the `start` first ones."""
        self.prompt = prompt
        self.count = count
        self.known = min(max(1, start), len(prompt))
        """Of so many tokens, from the first one on, there is nothing left to be computed."""
        self._start = start
        self._first = self.known
        self._rows = LogprobRows.empty(len(prompt) - self._first, count)

    @property
    def is_whole(self) -> bool:
        """Whether all tokens are of interest: only then others can take them over."""
        return self._start == 0

    @property
    def most_skipped(self) -> int:
        """How many tokens need not be computed, if nothing is taken over."""
        return max(0, self._first - 1)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be computed."""
        return self.known == len(self.prompt)

    @property
    def nbytes(self) -> int:
        """Size of the arrays and of the path to them."""
        arrays = sum(array.nbytes for array in (self.prompt, *self._rows))
        return arrays + path_bytes(len(self.prompt))

    def add(self, rows: LogprobRows) -> None:
        """Take in those of the next tokens; more most likely tokens than wanted are left out."""
        end = self.known + len(rows.chosen)
        self._rows.part(self.known - self._first, end - self._first).write(rows)
        self.known = end

    def take_over(self, other: "PromptLogprobs", known: int) -> None:
        """Know so many as well as another prompt that begins with the same tokens; both whole."""
        self._rows.part(0, known - 1).write(other._rows.part(0, known - 1))
        self.known = known

    def as_list(self) -> list[TokenLogprobs | None]:
        """One for each token from the start on; None for the first one of the prompt."""
        rows = range(len(self._rows.chosen))
        of_first = [None] if self.is_whole and self.known else []
        return [*of_first, *(self._rows.take(row, self.count) for row in rows)]


class PromptLogprobsCache:
    """The latest prompts that were scored, or are being scored, within a budget in bytes."""

    def __init__(self, limit_bytes: int = MOST_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._trees = RadixTrees[PromptLogprobs]()
        self._latest: OrderedDict[Node[PromptLogprobs], str] = OrderedDict()
        self._nbytes = 0

    def begin(self, namespace: str, prompt: PromptLogprobs, reads: bool, writes: bool) -> None:
        """Let a prompt know what another one does, and others what it will know."""
        if not prompt.known:
            return
        path = pack_ids(prompt.prompt)
        namespace = f"{namespace}\n{prompt.count}"
        if reads:
            self._take_over(namespace, path, prompt)
        if writes and prompt.nbytes <= self._limit_bytes:
            self._keep(namespace, path, prompt)

    def clear(self) -> None:
        """Forget all."""
        self._trees = RadixTrees()
        self._latest.clear()
        self._nbytes = 0

    def _take_over(self, namespace: str, path: bytes, prompt: PromptLogprobs) -> None:
        walk = self._trees.walk(namespace, path)
        if not walk.nodes:
            return
        # Whatever lies below the place where the prompt leaves the tree begins with as much of it.
        last = walk.nodes[-1]
        at = last.depth * TOKEN_BYTES
        below = last.children[path[at : at + TOKEN_BYTES]] if walk.tokens > last.depth else last
        nodes = [*walk.nodes, below, *islice(below.nearest_below(), _LOOK_AT)]

        def shared(node: Node[PromptLogprobs]) -> int:
            return min(node.value.known, walk.tokens) if node.value is not None else 0

        best = max(nodes, key=shared)
        if best.value is not None and shared(best) > prompt.known:
            prompt.take_over(best.value, shared(best))
            self._latest.move_to_end(best)

    def _keep(self, namespace: str, path: bytes, prompt: PromptLogprobs) -> None:
        node = self._trees.make(namespace, path)
        if node.value is not None:
            self._nbytes -= node.value.nbytes
        node.value = prompt
        self._nbytes += prompt.nbytes
        self._latest[node] = namespace
        self._latest.move_to_end(node)
        while self._nbytes > self._limit_bytes:
            oldest, namespace = self._latest.popitem(last=False)
            assert oldest.value is not None
            self._nbytes -= oldest.value.nbytes
            oldest.value = None
            self._trees.prune(namespace, oldest)
