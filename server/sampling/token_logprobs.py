"""The log-probability of a token beside the most likely ones. Plain data, also on the wire."""

import msgspec

MOST_TOP = 20
"""So many most likely tokens can be asked for."""


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Natural logarithms of the model's own probabilities at the place of one token."""

    logprob: float
    """Of the token that is there."""
    top_ids: list[int] = []
    """The most likely tokens, as many as were asked for; of equals the lowest id first."""
    top_logprobs: list[float] = []
    """Theirs; that of the token, if it is among them, is the same float."""
