"""What a step costs, learnt from the steps that were measured."""

_RATE = 0.2
"""Which part of an error is corrected at once: the machine may become another within seconds."""

_LARGEST_SURPRISE = 2.0
"""A step counts at most as so many times what was expected: one stall is no news of the machine."""


class StepCost:
    """seconds = fixed + per_token × tokens, whether they are decoded or of prompts.

    Decoding reads all weights for a few tokens, and every further token of the step has its share
    of the arithmetic; docs/performance.md has the measurements. Each error is attributed to the
    two parts by the squares of what they were expected to take, so steps of decode alone teach
    what is fixed, those of long chunks what a token costs, and both stay positive.
    """

    def __init__(self) -> None:
        self._fixed = 0.005  # as a 0.1B model on two cores; a guess until something is measured
        self._per_token = 0.0005

    def predict(self, tokens: int) -> float:
        """Seconds of a step of so many tokens."""
        return self._fixed + self._per_token * tokens

    def tokens_within(self, seconds: float) -> int:
        """How many tokens a step may have to take no longer; negative if even none is too many."""
        return int((seconds - self._fixed) / self._per_token)

    def observe(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long."""
        expected = self.predict(tokens)
        error = _RATE * (min(seconds, _LARGEST_SURPRISE * expected) - expected)
        of_tokens = self._per_token * tokens
        error /= self._fixed**2 + of_tokens**2
        self._fixed *= 1 + error * self._fixed
        self._per_token *= 1 + error * of_tokens
