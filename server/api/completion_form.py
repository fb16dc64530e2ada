"""What the answers of /v1/completions show besides what was generated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.api.logprobs import LogprobEntry, completion_logprobs
from server.tokenizer.base import Tokenizer


@dataclass(frozen=True)
class CompletionForm:
    """The prompt before the text, and the log-probabilities, if they were asked for."""

    echoes: Sequence[str] = ()
    """The texts of the prompts; none without echo."""
    per_prompt: int = 1
    """Of the choices that are returned."""
    tokenizer: Tokenizer | None = None
    """Given if the log-probabilities are shown."""

    def echo(self, index: int) -> str:
        """What a choice begins with."""
        return self.echoes[index // self.per_prompt] if self.echoes else ""

    def logprobs(
        self, index: int, prompt: Sequence[LogprobEntry], answer: Sequence[LogprobEntry]
    ) -> dict[str, Any] | None:
        """Of the tokens of a choice, and before them those of its prompt."""
        if self.tokenizer is None:
            return None
        return completion_logprobs(prompt, answer, self.tokenizer, len(self.echo(index)))


PLAIN = CompletionForm()
"""Only what was generated."""
