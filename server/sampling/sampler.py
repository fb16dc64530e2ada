"""Samples one token for each row of logits."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.kernels.sampling import BINS, PART, sample_rows
from server.kernels.team import Team
from server.sampling.params import SamplingParams
from server.sampling.penalties import PenaltyCounts


class RowParams(NamedTuple):
    """Parameters of the rows of one call, arrays of length R."""

    temperature: Any  # float64
    top_k: Any  # int64
    top_p: Any  # float64
    presence: Any  # float32
    frequency: Any  # float32
    repetition: Any  # float32
    seed: Any  # uint64
    position: Any  # int64


class PenaltyLists(NamedTuple):
    """Tokens with a penalty: row r owns starts[r] … starts[r + 1] − 1 of tokens and counts."""

    starts: Any  # [R + 1] int64
    tokens: Any  # int64
    counts: Any  # float32


class TokenMasks(NamedTuple):
    """Which tokens some rows may sample: bit t % 32 of word t // 32 is that of token t."""

    places: Any  # [R] int64, where in bits the row's are; −1: all tokens
    bits: Any  # [masked rows, ⌈V / 32⌉] uint32


class SamplingWork(NamedTuple):
    """Scratch memory, a row for each thread."""

    bins: Any  # [threads, BINS] float64
    parts: Any  # [threads, ⌈V / PART⌉] float64
    candidates: Any  # [threads, V] int64


class SampleRow(NamedTuple):
    """What decides one draw besides the logits."""

    params: SamplingParams
    position: int
    """Index of the new token in its sequence; with the seed it keys the generator."""
    penalties: PenaltyCounts | None
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
        )

    def sample(self, logits: npt.NDArray[np.float32], rows: list[SampleRow]) -> list[int]:
        """One token (or NO_TOKEN) for each row of logits [R, ≥ V], which are overwritten."""
        tokens = np.empty(len(rows), dtype=np.int64)
        self._team.run(sample_rows, *self._arguments(logits, rows), self._work, tokens)
        return [int(token) for token in tokens]

    def compile(self) -> None:
        """Compile or load the kernel on the calling thread."""
        logits = np.zeros((1, self._vocab_size), dtype=np.float32)
        row = SampleRow(SamplingParams(max_tokens=1, seed=0), 0, None)
        tokens = np.empty(1, dtype=np.int64)
        Team(1).run(sample_rows, *self._arguments(logits, [row]), self._work, tokens)

    def _arguments(self, logits: npt.NDArray[np.float32], rows: list[SampleRow]) -> tuple[Any, ...]:
        lists = _penalty_lists(rows), _token_masks(rows, self._no_masks)
        return logits, self._vocab_size, _row_params(rows), *lists


def needs_counts(params: SamplingParams) -> bool:
    """Whether any penalty acts."""
    return (
        params.presence_penalty != 0
        or params.frequency_penalty != 0
        or params.repetition_penalty != 1
    )


def _row_params(rows: list[SampleRow]) -> RowParams:
    params = [row.params for row in rows]
    return RowParams(
        temperature=np.array([p.temperature for p in params], dtype=np.float64),
        top_k=np.array([p.top_k for p in params], dtype=np.int64),
        top_p=np.array([p.top_p for p in params], dtype=np.float64),
        presence=np.array([p.presence_penalty for p in params], dtype=np.float32),
        frequency=np.array([p.frequency_penalty for p in params], dtype=np.float32),
        repetition=np.array([p.repetition_penalty for p in params], dtype=np.float32),
        seed=np.array([p.seed for p in params], dtype=np.uint64),
        position=np.array([row.position for row in rows], dtype=np.int64),
    )


def _penalty_lists(rows: list[SampleRow]) -> PenaltyLists:
    lists = [row.penalties for row in rows if row.penalties is not None]
    lengths = [0 if row.penalties is None else len(row.penalties.tokens) for row in rows]
    empty_tokens, empty_counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    return PenaltyLists(
        starts=np.cumsum([0, *lengths], dtype=np.int64),
        tokens=np.concatenate([empty_tokens, *(counts.tokens for counts in lists)]),
        counts=np.concatenate([empty_counts, *(counts.counts for counts in lists)]),
    )


def _token_masks(rows: list[SampleRow], no_masks: npt.NDArray[np.uint32]) -> TokenMasks:
    places = np.full(len(rows), -1, dtype=np.int64)
    masks: list[npt.NDArray[np.uint32]] = []
    for number, row in enumerate(rows):
        if row.mask is not None:
            places[number] = len(masks)
            masks.append(row.mask)
    return TokenMasks(places, np.stack(masks) if masks else no_masks)
