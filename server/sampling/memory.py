"""What is remembered of a request from one token to the next, for its sampling."""

import numpy as np

from server.sampling.edits import NOTHING, Edits, TokenValues
from server.sampling.mirostat import Mirostat
from server.sampling.params import NEVER, SamplingParams
from server.sampling.penalties import PenaltyCounts
from server.sampling.repeats import Repeats
from server.sampling.sampler import SampleRow
from server.sampling.unwanted_words import UnwantedWords, joined
from server.tokenizer.base import Tokenizer


class SamplingMemory:
    """Counts, repetitions and mu of one request: makes the rows that the sampler is given."""

    def __init__(
        self,
        params: SamplingParams,
        tokenizer: Tokenizer,
        prompt_ids: list[int],
        generated_ids: list[int],
        mu: float | None,
    ) -> None:
        """Begin after a prompt, or go on after what was generated before a worker was lost."""
        self._params = params
        self._generated = len(generated_ids)
        self._allowed = _values(dict.fromkeys(sorted(params.allowed_token_ids), 0.0))
        self._biases = _values(dict(params.logit_bias))
        ends = dict.fromkeys((tokenizer.eos_id, *params.stop_token_ids), NEVER)
        self._biases_before_end = _values(dict(params.logit_bias) | ends)
        self._counts: PenaltyCounts | None = None
        if _has_penalties(params):
            self._counts = PenaltyCounts(params.penalty_decay, params.penalty_last_n)
            for token in generated_ids:
                self._counts.add(token)
        self._repeats: Repeats | None = None
        if _uses_dry(params):
            self._repeats = Repeats(params, tokenizer.token_bytes, prompt_ids + generated_ids)
        self._words: UnwantedWords | None = None
        if params.bad_words:
            self._words = UnwantedWords(params.bad_words, tokenizer, generated_ids)
        self._mirostat = Mirostat(params, mu) if params.mirostat else None

    @property
    def mu(self) -> float | None:
        """That of mirostat, if it is on."""
        return self._mirostat.mu if self._mirostat else None

    def row(self, position: int) -> SampleRow:
        """For the next token, which is at `position` of its sequence."""
        may_end = self._generated >= self._params.min_tokens
        edits = Edits(
            allowed=self._allowed,
            biases=self._biases if may_end else self._biases_before_end,
            counts=self._counts.values if self._counts else NOTHING,
            repeats=joined(
                self._repeats.biases() if self._repeats else NOTHING,
                self._words.biases() if self._words else NOTHING,
            ),
        )
        return SampleRow(self._params, position, edits, self._mirostat)

    def add(self, token: int) -> None:
        """Go on by a generated token."""
        self._generated += 1
        if self._counts:
            self._counts.add(token)
        if self._repeats:
            self._repeats.add(token)
        if self._words:
            self._words.add(token)


def needs_memory(params: SamplingParams) -> bool:
    """Whether sampling depends on more than the parameters, the logits and the position."""
    return bool(
        params.allowed_token_ids
        or params.min_tokens
        or params.logit_bias
        or params.bad_words
        or params.mirostat
        or _has_penalties(params)
        or _uses_dry(params)
    )


def _has_penalties(params: SamplingParams) -> bool:
    return (
        params.presence_penalty != 0
        or params.frequency_penalty != 0
        or params.repetition_penalty != 1
    )


def _uses_dry(params: SamplingParams) -> bool:
    return params.dry_multiplier != 0 and params.dry_penalty_last_n != 0


def _values(values: dict[int, float]) -> TokenValues:
    tokens = np.array(list(values), dtype=np.int64)
    return TokenValues(tokens, np.array(list(values.values()), dtype=np.float32))
