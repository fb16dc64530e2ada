"""The arithmetic of adapters: from some rows of a matrix to what they become.

Products are summed in one order whatever the machine, which a library's product is not, and each
row by itself, so that pieces of a matrix have the bits of the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Tensor

Floats = npt.NDArray[np.float32]
Change = Callable[[Floats, slice], Floats]
"""From some rows of a matrix [outputs, inputs] to what they become."""


@dataclass(frozen=True, eq=False)
class ChangedTensor(Tensor):
    """A tensor whose values an adapter changes."""

    base: Tensor = field(kw_only=True)
    change: Change = field(kw_only=True)
    block: int = 1
    """The change takes whole blocks of so many rows."""

    @property
    def is_plain(self) -> bool:
        """Never: its data are what the values were before."""
        return False

    def to_float32(self, rows: slice = slice(None)) -> Floats:
        """[rows, …] after the change."""
        start, stop, _ = rows.indices(self.shape[0])
        first = start - start % self.block
        last = min(stop + -stop % self.block, self.shape[0])
        rows = slice(first, last)
        values = self.change(self.base.to_float32(rows), rows)
        return values[start - first : stop - first]


def changed(base: Tensor, change: Change, block: int = 1) -> Tensor:
    """The tensor with a change that takes whole blocks of so many rows."""
    kept = {name: getattr(base, name) for name in Tensor.__dataclass_fields__}
    return ChangedTensor(**kept, base=base, change=change, block=block)


def add_product(up: Floats, down: Floats) -> Change:
    """W + up down, of [outputs, r] and [r, inputs]."""
    return partial(_add_product, up, down)


def add_shared_rows(shared: Floats) -> Change:
    """W + S, where each row of S is that of shared [outputs, r], repeated as far as W goes."""
    return partial(_add_shared_rows, shared)


def add_block_products(blocks: Floats, by: str) -> Change:
    """W_ab + W_ab D + D for each r × r block of W, D [r, r] being blocks[b] or blocks[a].

    `by` is "column" (RWKV-PEFT: D is chosen by b) or "row" (PEFT: by a).
    """
    return partial(_add_block_products, blocks, by == "row")


def _add_product(up: Floats, down: Floats, values: Floats, rows: slice) -> Floats:
    total = values.copy()
    for row, column in zip(down, up[rows].T, strict=True):
        total += column[:, None] * row
    return total


def _add_shared_rows(shared: Floats, values: Floats, rows: slice) -> Floats:
    times = -(-values.shape[1] // shared.shape[1])
    return values + np.tile(shared[rows], (1, times))[:, : values.shape[1]]


def _add_block_products(blocks: Floats, by_row: bool, values: Floats, rows: slice) -> Floats:
    rank, total = blocks.shape[1], values.copy()
    for top in range(0, len(values), rank):
        for left in range(0, values.shape[1], rank):
            block = blocks[(rows.start + top) // rank if by_row else left // rank]
            place = slice(top, top + rank), slice(left, left + rank)
            product = block.copy()
            for column, row in zip(values[place].T, block, strict=True):
                product += column[:, None] * row
            total[place] += product
    return total
