"""Mirostat 2 (Basu et al., 2021): keeps the tokens of a request worth a number of bits each."""

from server.sampling.params import SamplingParams


class Mirostat:
    """`mu`: the most bits that the next token may be worth."""

    def __init__(self, params: SamplingParams, mu: float | None) -> None:
        """Begin, or go on with what mu was when a worker was lost."""
        self._tau, self._eta = params.mirostat_tau, params.mirostat_eta
        self.mu = 2 * self._tau if mu is None else mu

    def observe(self, surprise: float) -> None:
        """A token was sampled that was worth so many bits among those that were left."""
        self.mu -= self._eta * (surprise - self._tau)
