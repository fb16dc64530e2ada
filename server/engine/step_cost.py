"""What a step costs, learnt from the steps that were measured."""

import math

_NOISE = 0.1**2
"""Variance of how long equal steps take, relative to what they take."""

_SPEED_DRIFT = 0.05**2
"""By how much the whole machine may change from one step to the next: others use it, too."""

_SHAPE_DRIFT = 0.01**2
"""By how much either part may change of itself."""

_MEMORY = 0.999
"""Keeps what is unknown finite, however long only steps of one kind are measured."""

_LARGEST_SURPRISE = math.log(2)
"""A step counts at most as twice what was expected: one stall is no news of the machine."""


class StepCost:
    """seconds = fixed + per_token × tokens, whether they are decoded or of prompts.

    Decoding reads all weights for a few tokens, and every further token of the step has its share
    of the arithmetic; docs/performance.md has the measurements.

    This is an extended Kalman filter of the logarithms of the two parts. It knows from steps of
    decode alone what these cost in sum, attributes to the tokens what steps with prompts cost more,
    and takes a change of both for what it most likely is: another speed of the machine. Running
    means could not do so while prompts come without a pause and no step is of decode alone.
    """

    def __init__(self) -> None:
        self._fixed = 0.01  # as ten to one, until more than one step has been measured
        self._per_token = 0.001
        self._measured = False
        # Variances of the logarithms, and between them their covariance.
        self._variances = (0.5, 0.0, 0.5)

    def predict(self, tokens: int) -> float:
        """Seconds of a step of so many tokens."""
        return self._fixed + self._per_token * tokens

    def tokens_within(self, seconds: float) -> int:
        """How many tokens a step may have to take no longer; negative if even none is too many."""
        return int((seconds - self._fixed) / self._per_token)

    def observe(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long; a clock that stood still says nothing."""
        if seconds <= 0:
            return
        expected = self.predict(tokens)
        surprise = math.log(seconds / expected)
        if not self._measured:
            self._measured = True
            self._scale(surprise, surprise)
            return
        surprise = min(surprise, _LARGEST_SURPRISE)
        of_fixed = self._fixed / expected
        of_tokens = 1 - of_fixed
        fixed, both, per_token = self._variances
        with_fixed = fixed * of_fixed + both * of_tokens  # covariances with what was measured
        with_tokens = both * of_fixed + per_token * of_tokens
        total = of_fixed * with_fixed + of_tokens * with_tokens + _NOISE
        self._scale(with_fixed / total * surprise, with_tokens / total * surprise)
        self._variances = (
            _MEMORY * (fixed - with_fixed**2 / total) + _SPEED_DRIFT + _SHAPE_DRIFT,
            _MEMORY * (both - with_fixed * with_tokens / total) + _SPEED_DRIFT,
            _MEMORY * (per_token - with_tokens**2 / total) + _SPEED_DRIFT + _SHAPE_DRIFT,
        )

    def _scale(self, fixed: float, per_token: float) -> None:
        """Add to the logarithms."""
        self._fixed *= math.exp(fixed)
        self._per_token *= math.exp(per_token)
