"""Which worker gets a task: the one whose cache likely holds most of it, unless it has too much."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from server.protocol.task import Task
from server.state_cache.keys import namespace_of, prefix_keys, space_of

BLOCK_TOKENS = 64
"""Prefixes are compared in steps of so many tokens."""
MOST_BLOCKS = 1024
"""Of a prompt; what two prompts share beyond that does not matter for the choice."""
MOST_PREFIXES = 16_384
"""That are remembered of a worker, the latest."""
MOST_AHEAD = 4
"""So many more requests than the least loaded one may a worker hold and get one more."""


_HEADER_BYTES = 4096


class Router:
    """Remembers what prefixes each worker got lately."""

    def __init__(self) -> None:
        self._prefixes: dict[str, OrderedDict[bytes, None]] = {}

    def choose(self, task: Task, loads: Mapping[str, int], key: str = "") -> str:
        """One of the workers in `loads` (name → requests that it holds); it gets the task.

        Where several have as much of it, the same key leads to the same one.
        """
        digests = prefix_digests(task) if task.use.reads or task.use.writes else []
        least = min(loads.values())
        near = [name for name, load in loads.items() if load <= least + MOST_AHEAD]

        def rank(name: str) -> tuple[int, int, bytes]:
            load = 0 if key else loads[name]
            return -self._shared(name, digests), load, _rank(key, name) if key else b""

        chosen = min(near, key=rank)
        known = self._prefixes.setdefault(chosen, OrderedDict())
        for digest in digests if task.use.writes else ():
            known[digest] = None
            known.move_to_end(digest)
        while len(known) > MOST_PREFIXES:
            known.popitem(last=False)
        return chosen

    def forget(self, name: str) -> None:
        """The worker is gone, and its cache with it."""
        self._prefixes.pop(name, None)

    def _shared(self, name: str, digests: list[bytes]) -> int:
        """How many blocks of the task begin as one that the worker got."""
        known = self._prefixes.get(name, ())
        return next((n for n in range(len(digests), 0, -1) if digests[n - 1] in known), 0)


def _rank(key: str, worker: str) -> bytes:
    """Rendezvous hashing: when a worker comes or goes, only its own keys move."""
    return hashlib.blake2b(f"{worker} {key}".encode(), digest_size=8).digest()


def prefix_digests(task: Task) -> list[bytes]:
    """One for each whole block of the prompt, of all up to its end and what states depend on."""
    # The header of an encoded snapshot has a checksum of all of it.
    base = hashlib.blake2b(task.base[:_HEADER_BYTES], digest_size=16).hexdigest()
    space = space_of("", namespace_of(task.initial_state, task.use.salt, base))
    size = min(len(task.prompt_ids) // BLOCK_TOKENS, MOST_BLOCKS) * BLOCK_TOKENS
    ids = np.array(task.prompt_ids[:size], np.int32)
    return prefix_keys(space, ids, range(BLOCK_TOKENS, size + 1, BLOCK_TOKENS))
