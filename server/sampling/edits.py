"""What is done to the logits of some tokens of a row."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class TokenValues(NamedTuple):
    """Distinct tokens, and a value of each."""

    tokens: npt.NDArray[np.int64]  # [k]
    values: npt.NDArray[np.float32]  # [k]


NOTHING = TokenValues(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


class Edits(NamedTuple):
    """The edits of one row, in the order in which they are made."""

    allowed: TokenValues = NOTHING
    """All others are banned; their values mean nothing. Ascending; empty allows all tokens."""
    biases: TokenValues = NOTHING
    """Added to the logits; −inf bans a token."""
    counts: TokenValues = NOTHING
    """How often tokens were generated: for the penalties."""
    repeats: TokenValues = NOTHING
    """Added after the penalties: those of DRY, and −inf for tokens that bad_words ban."""


NO_EDITS = Edits()
