"""Log-probabilities of tokens from rows of logits."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from server.kernels.log_softmax import log_softmax_rows
from server.kernels.team import Team
from server.sampling.token_logprobs import TokenLogprobs


class LogprobRows(NamedTuple):
    """The log-probability of one token in each row, and those of the K most likely tokens."""

    chosen: npt.NDArray[np.float64]  # [R]
    top_ids: npt.NDArray[np.int64]  # [R, K], −1 where there are no more finite logits
    top: npt.NDArray[np.float64]  # [R, K]

    @staticmethod
    def empty(rows: int, count: int) -> "LogprobRows":
        """For `count` most likely tokens, to be written."""
        return LogprobRows(
            np.empty(rows, np.float64),
            np.empty((rows, count), np.int64),
            np.empty((rows, count), np.float64),
        )

    def part(self, first: int, last: int) -> "LogprobRows":
        """A view of rows first … last − 1."""
        return LogprobRows(self.chosen[first:last], self.top_ids[first:last], self.top[first:last])

    def write(self, rows: "LogprobRows") -> None:
        """Copy as many rows; if they have more most likely tokens, those are left out."""
        count = self.top.shape[1]
        self.chosen[:] = rows.chosen
        self.top_ids[:] = rows.top_ids[:, :count]
        self.top[:] = rows.top[:, :count]

    def take(self, row: int, count: int) -> TokenLogprobs:
        """Those of one row, with `count` ≤ K most likely tokens."""
        ids = [token for token in self.top_ids[row, :count].tolist() if token >= 0]
        top = self.top[row, : len(ids)].tolist()
        return TokenLogprobs(float(self.chosen[row]), ids, top)


class LogSoftmax:
    """Runs the kernel; a row's result depends on nothing but the row."""

    def __init__(self, vocab_size: int, team: Team) -> None:
        self._vocab_size = vocab_size
        self._team = team

    def compute(
        self, logits: npt.NDArray[np.float32], tokens: npt.NDArray[np.int64], out: LogprobRows
    ) -> None:
        """Write the rows of `out`: of one token [R] for each row of logits [≥ R, ≥ V]."""
        self._team.run(log_softmax_rows, logits, self._vocab_size, tokens, *out)

    def compile(self) -> None:
        """Compile or load the kernel on the calling thread."""
        logits = np.zeros((1, self._vocab_size), dtype=np.float32)
        tokens, out = np.zeros(1, dtype=np.int64), LogprobRows.empty(1, 1)
        Team(1).run(log_softmax_rows, logits, self._vocab_size, tokens, *out)
