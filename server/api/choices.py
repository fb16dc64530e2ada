"""What a request gets from the engine: the text of its choices, token counts, news."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from server.api.logprobs import LogprobEntry
from server.api.schemas.usage import CompletionTokensDetails, PromptTokensDetails, Usage
from server.assistant.answer import Answer, Delta
from server.assistant.form import AnswerForm
from server.assistant.reader import AnswerReader

Finish = Literal["stop", "length", "tool_calls"]


@dataclass
class TokenCount:
    """Tokens of the prompts, and generated so far; the access log reads it at the end."""

    prompt: int
    completion: int = 0
    cached: int = 0
    """Of the prompts' tokens, how many came from the state cache; of each prompt's first choice."""
    written: int = 0
    """And how many more are in the state cache now."""
    reasoning: int = 0
    """Of the generated tokens, how many are thoughts; of choices that have finished."""
    finish_reasons: list[str] = field(default_factory=list)
    """Of the choices that have finished, in the order in which they did."""

    def usage(self) -> Usage:
        """As the API reports it."""
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=self.cached, cache_write_tokens=self.written
            ),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=self.reasoning),
        )


@dataclass
class GeneratedChoice:
    """A choice that the engine goes on with until `finish_reason` is set."""

    pieces: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    """Also of a stop token, and of text that a stop string has cut off."""
    finish_reason: Finish | None = None
    state: bytes = b""
    """At the end, if its task keeps the state."""
    logprob_sum: float = 0.0
    """Of all token_ids."""
    embedding: bytes = b""
    """At the end, if its task has a pooling: see RequestOutput."""
    reader: AnswerReader = field(default_factory=lambda: AnswerReader(AnswerForm()))
    """Has read the text as an assistant's answer, if the plan says what form that has."""
    index: int = 0
    """In the order of the plan."""

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)

    @property
    def answer(self) -> Answer:
        """The text as an assistant's message."""
        return self.reader.answer

    @property
    def mean_logprob(self) -> float:
        """Of a token."""
        return self.logprob_sum / max(1, len(self.token_ids))


@dataclass(frozen=True)
class News:
    """What a choice got since the last time."""

    index: int
    text: str
    finish_reason: Finish | None
    logprobs: list[LogprobEntry] = field(default_factory=list)
    """Of the text's tokens and of the one that ended it, if they were asked for."""
    content_logprobs: list[LogprobEntry] = field(default_factory=list)
    """Of the tokens that the deltas' content is made of."""
    prompt_logprobs: list[LogprobEntry] = field(default_factory=list)
    """At the beginning, in one part or several, if they were asked for."""
    deltas: Sequence[Delta] = ()
    """What the text makes of an assistant's answer."""
    token_ids: Sequence[int] = ()
    """That came, also of text that is held back."""
    stop_string: str = ""
    """With the finish reason: what ended the text, if it was a stop string."""
