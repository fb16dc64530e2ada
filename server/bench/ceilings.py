"""The ceilings of one model on this machine, and how far a step's time is from them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from server.kernels import ceilings
from server.kernels.linear import share_rows
from server.kernels.matrices import FloatMatrix, Int4Matrix, Int8Matrix
from server.kernels.team import Team
from server.model.config import ModelConfig

_MAC_SECONDS = 0.005


@dataclass(frozen=True)
class Work:
    """What a step has to read and to multiply."""

    layer_bytes: int
    head_bytes: int
    layer_macs: int
    """For one token, without the head."""
    head_macs: int
    """For one row of logits."""
    state_bytes: int

    def seconds(self, tokens: int, rows: int, bandwidth: float, mac_rate: float) -> float:
        """The least time of a step: reading weights and states, or multiplying, if that is more.

        tokens of `rows` sequences, all of which want logits; bytes/s and MAC/s of the machine.
        """
        size = self.layer_bytes + self.head_bytes + 2 * rows * self.state_bytes
        macs = tokens * self.layer_macs + rows * self.head_macs
        return max(size / bandwidth, macs / mac_rate)


def work_of(config: ModelConfig, weights: Any) -> Work:
    """Count the bytes and multiply-accumulates of the matrices; vectors are nothing beside them."""
    layers = _matrices_of_layers(weights)
    return Work(
        layer_bytes=sum(array.nbytes for w in layers for array in w),
        head_bytes=sum(array.nbytes for array in weights.head),
        layer_macs=sum(_macs(w) for w in layers),
        head_macs=_macs(weights.head),
        state_bytes=config.state_bytes,
    )


def _matrices_of_layers(weights: Any) -> list[FloatMatrix | Int8Matrix | Int4Matrix]:
    """All but the head, in the order in which a step reads them, which is that of the fields."""
    kinds = FloatMatrix, Int8Matrix, Int4Matrix
    return [w for w in weights if isinstance(w, kinds) and w is not weights.head]


def _macs(w: FloatMatrix | Int8Matrix | Int4Matrix) -> int:
    per_byte = 2 if isinstance(w, Int4Matrix) else 1
    return int(w.codes.size) * per_byte


class Ceilings:
    """Measures bandwidth and arithmetic with the threads that also compute the steps."""

    def __init__(self, weights: Any, team: Team) -> None:
        self._team = team
        self._spans = spans_of(weights, team.threads)
        self._results = np.zeros(16 * team.threads, dtype=np.int32)
        self._is_integer = not isinstance(weights.head, FloatMatrix)
        self._rounds = self._choose_rounds()
        self.bandwidth()

    def bandwidth(self) -> float:
        """Bytes/s when each thread reads its share of every matrix, in the order of a step."""
        seconds = self._time(ceilings.read_spans, self._spans)
        return float(self._spans[:, :, 1].sum()) / seconds

    def mac_rate(self) -> float:
        """Multiply-accumulates/s from registers, of bytes for quantised weights or of floats."""
        kernel, macs = self._arithmetic()
        seconds = self._time(kernel, np.int64(self._rounds))
        return self._rounds * ceilings.CHAINS * macs * self._team.threads / seconds

    def _arithmetic(self) -> tuple[Callable[..., Any], int]:
        if self._is_integer:
            return ceilings.multiply_bytes, ceilings.MACS_PER_DOT
        return ceilings.multiply_floats, ceilings.MACS_PER_FMA

    def _choose_rounds(self) -> int:
        rounds = 1000
        # The first call of each kernel compiles it, or loads what is compiled: it does not count.
        self._time(self._arithmetic()[0], np.int64(rounds))
        while self._time(self._arithmetic()[0], np.int64(rounds)) < _MAC_SECONDS:
            rounds *= 2
        return rounds

    def _time(self, kernel: Callable[..., Any], argument: Any) -> float:
        started = time.perf_counter()
        self._team.run(kernel, argument, self._results)
        return time.perf_counter() - started


def spans_of(weights: Any, threads: int) -> npt.NDArray[np.int64]:
    """[threads, n, 2]: address and length of what each thread reads in a step."""
    layers = weights.receptance.codes.shape[0]
    matrices = [
        (w, place)
        for layer in range(layers)
        for w in _matrices_of_layers(weights)
        for place in np.arange(len(w.codes)).reshape(layers, -1)[layer]
    ]
    spans: list[list[tuple[int, int]]] = []
    for thread in range(threads):
        spans.append([])
        for w, place in [*matrices, (weights.head, 0)]:
            begin, end = share_rows(thread, threads, w.codes.shape[1])
            for array in w:
                part = array[place, begin:end]
                spans[-1].append((part.ctypes.data, part.nbytes))
    return np.array(spans, dtype=np.int64)
