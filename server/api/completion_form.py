"""What the answers of /v1/completions show besides what was generated."""

from dataclasses import dataclass

from server.api.plan import Plan
from server.json_pieces import JsonText
from server.tokenizer.base import Tokenizer


@dataclass(frozen=True)
class CompletionForm:
    """The prompt before the text, and the log-probabilities, if they were asked for.

    Choices are those that were generated, whether or not they are returned.
    """

    plan: Plan
    tokenizer: Tokenizer | None = None
    """Given if the log-probabilities are shown."""

    def text(self, index: int, text: str) -> str | JsonText:
        """What a choice begins with, and after it some text."""
        echo = self._echo(index)
        return text if echo is None else echo.followed_by(text)

    def answer_begins(self, index: int) -> int:
        """After how many characters."""
        echo = self._echo(index)
        return 0 if echo is None else len(echo)

    def logprobs_of_prompt(self, index: int) -> int:
        """How many tokens of the prompt of a choice have log-probabilities, if any of them have."""
        return len(self.plan.choices[index].prompt_ids)

    def _echo(self, index: int) -> JsonText | None:
        plan = self.plan
        return plan.echoes[index // plan.choices_per_prompt] if plan.echoes else None
