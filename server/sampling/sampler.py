"""Samples one token for each row of logits."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.kernels.sampling import EDIT_KINDS, ROW_PARAMS, sample_rows
from server.kernels.sampling_filters import BINS, PART
from server.kernels.team import Team
from server.sampling.edits import NO_EDITS, NOTHING, Edits
from server.sampling.mirostat import Mirostat
from server.sampling.params import SamplingParams
from server.sampling.sigma import edit, keep_near

_LEAST_TOP_P = 1e-9
"""What 0 means: the most likely token, where no tokens at all would reach it."""


class TokenEdits(NamedTuple):
    """The edits of all rows, one after another.

    Kind k of row r owns starts[i] … starts[i + 1] − 1 of tokens and values, i = EDIT_KINDS · r + k.
    """

    starts: Any  # [EDIT_KINDS · R + 1] int64
    tokens: Any  # int64
    values: Any  # float32


class TokenMasks(NamedTuple):
    """Which tokens some rows may sample: bit t % 32 of word t // 32 is that of token t."""

    places: Any  # [R] int64, where in bits the row's are; −1: all tokens
    bits: Any  # [masked rows, ⌈V / 32⌉] uint32


class SamplingWork(NamedTuple):
    """Scratch memory, a row for each thread."""

    bins: Any  # [threads, BINS] float64
    parts: Any  # [threads, ⌈V / PART⌉] float64
    candidates: Any  # [threads, V] int64
    keys: Any  # [threads, V] uint32


class SampleRow(NamedTuple):
    """What decides one draw besides the logits."""

    params: SamplingParams
    position: int
    """Index of the new token in its sequence; with the seed it keys the generator."""
    edits: Edits | None = None
    mirostat: Mirostat | None = None
    """Bounds what may be drawn, and is told how much that was worth."""
    mask: npt.NDArray[np.uint32] | None = None
    """[⌈V / 32⌉], a bit for each token that may be sampled; None: all."""


class Sampler:
    """Holds the buffers; the choice itself depends on its arguments alone."""

    def __init__(self, vocab_size: int, team: Team) -> None:
        self._vocab_size = vocab_size
        self._team = team
        self._no_masks = np.zeros((0, -(-vocab_size // 32)), dtype=np.uint32)
        self._work = SamplingWork(
            bins=np.zeros((team.threads, BINS), dtype=np.float64),
            parts=np.zeros((team.threads, -(-vocab_size // PART)), dtype=np.float64),
            candidates=np.zeros((team.threads, vocab_size), dtype=np.int64),
            keys=np.zeros((team.threads, vocab_size), dtype=np.uint32),
        )

    def sample(self, logits: npt.NDArray[np.float32], rows: list[SampleRow]) -> list[int]:
        """One token (or NO_TOKEN) for each row of logits [R, ≥ V], which are overwritten."""
        return self._sample(self._team, logits, rows)

    def compile(self) -> None:
        """Compile or load the kernel on the calling thread."""
        logits = np.zeros((1, self._vocab_size), dtype=np.float32)
        self._sample(Team(1), logits, [SampleRow(SamplingParams(max_tokens=1, seed=0), 0)])

    def _sample(
        self, team: Team, logits: npt.NDArray[np.float32], rows: list[SampleRow]
    ) -> list[int]:
        rows = [self._near(row, logits[number]) for number, row in enumerate(rows)]
        tokens = np.empty(len(rows), dtype=np.int64)
        surprises = np.zeros(len(rows), dtype=np.float64)
        team.run(
            sample_rows,
            logits,
            self._vocab_size,
            _row_params(rows),
            _token_edits(rows),
            _token_masks(rows, self._no_masks),
            self._work,
            tokens,
            surprises,
        )
        for row, surprise in zip(rows, surprises, strict=True):
            if row.mirostat is not None:
                row.mirostat.observe(float(surprise))
        return [int(token) for token in tokens]

    def _near(self, row: SampleRow, logits: npt.NDArray[np.float32]) -> SampleRow:
        """What is left to do for a row with top_n_sigma, whose logits are cut here."""
        if row.params.top_n_sigma <= 0 or row.params.temperature == 0:
            return row
        logits = logits[: self._vocab_size]
        edit(logits, row.params, row.edits or NO_EDITS, row.mask)
        keep_near(logits, row.params.top_n_sigma)
        return row._replace(edits=None, mask=None)


def _row_params(rows: list[SampleRow]) -> npt.NDArray[np.void]:
    return np.array([_row_tuple(row) for row in rows], dtype=ROW_PARAMS)


def _row_tuple(row: SampleRow) -> tuple[float, ...]:
    """In the order of ROW_PARAMS."""
    params = row.params
    return (
        params.seed,
        row.position,
        params.temperature,
        params.repetition_penalty,
        params.presence_penalty,
        params.frequency_penalty,
        params.top_k,
        params.typical_p,
        max(params.top_p, _LEAST_TOP_P),
        params.min_p,
        params.xtc_probability,
        params.xtc_threshold,
        np.inf if row.mirostat is None else row.mirostat.mu,
    )


def _token_edits(rows: list[SampleRow]) -> TokenEdits:
    if not any(row.edits for row in rows):
        return TokenEdits(np.zeros(int(EDIT_KINDS) * len(rows) + 1, dtype=np.int64), *NOTHING)
    kinds = [kind for row in rows for kind in row.edits or NO_EDITS]
    return TokenEdits(
        starts=np.cumsum([0, *(len(kind.tokens) for kind in kinds)], dtype=np.int64),
        tokens=np.concatenate([kind.tokens for kind in kinds]),
        values=np.concatenate([kind.values for kind in kinds]),
    )


def _token_masks(rows: list[SampleRow], no_masks: npt.NDArray[np.uint32]) -> TokenMasks:
    places = np.full(len(rows), -1, dtype=np.int64)
    masks: list[npt.NDArray[np.uint32]] = []
    for number, row in enumerate(rows):
        if row.mask is not None:
            places[number] = len(masks)
            masks.append(row.mask)
    return TokenMasks(places, np.stack(masks) if masks else no_masks)
