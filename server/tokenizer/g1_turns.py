"""How G1 models are told of their reasoning where a chat template of their own does not tell them.

The built-in template does all of it itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from server.tokenizer.bounded_template import BoundedTemplate
from server.tokenizer.chat_template import ChatTemplate, without_blank_lines
from server.tokenizer.reasoning import ThinkingWords

Message = Mapping[str, Any]

AMOUNTS = {
    "low": "think a bit",
    "medium": "think",
    "high": "think a lot",
    "xhigh": "think a lot",
    "max": "think a lot",
}
"""Reasoning effort → what a question ends with."""

_TURN = "Assistant:"


@dataclass(frozen=True)
class G1Turns:
    """What a request decided, for a model with turns of World and G1."""

    words: ThinkingWords
    thinks: bool | None = None
    """None: nothing was said of it."""
    effort: str | None = None

    def prepared(self, messages: Iterable[Message]) -> list[Message]:
        """Messages without blank lines, and with words at the end of the last question."""
        turns = [_clean(message) for message in messages]
        amount = AMOUNTS.get(self.effort or "", "") if self.thinks else ""
        question = next(filter(lambda at: _is_question(turns[at]), reversed(range(len(turns)))), -1)
        if not amount or question < 0 or turns[-1]["role"] == "assistant":
            return turns
        words = f" ({amount})" if self.words == "parentheses" else f" {amount}"
        said = turns[question]
        turns[question] = {**said, "content": said["content"] + words}
        return turns

    def begun(self, prompt: str, template: ChatTemplate | BoundedTemplate) -> str:
        """The prompt with the beginning of the reasoning, or with one that is over."""
        if self.thinks is None or template.writes_thoughts or not prompt.endswith(_TURN):
            return prompt
        return prompt + (" <think" if self.thinks else " <think>\n</think")


def _clean(message: Message) -> Message:
    if message["role"] == "assistant" or not isinstance(message.get("content"), str):
        return message
    return {**message, "content": without_blank_lines(message["content"])}


def _is_question(message: Message) -> bool:
    others = ("system", "developer", "assistant", "tool", "function")
    return message["role"] not in others and "is_result" not in message
