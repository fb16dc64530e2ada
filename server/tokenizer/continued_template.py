"""A chat template for messages that go on with a conversation that a state has read."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.tokenizer.chat_template import Renderer

_BEFORE = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"})
"""Stands for the conversation. What a template makes of a message does not depend on it, but for
what only the first ones get, such as a BOS token or a system text of the template's own."""


class ContinuedTemplate:
    """Renders what messages add to a conversation, with what divides them from it.

    The conversation must end as messages do without a generation prompt. Where a template writes
    earlier messages anew when later ones come, messages are rendered as if they came first.
    """

    begins_answers_alike = False

    def __init__(self, template: Renderer) -> None:
        self._template = template

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """As ChatTemplate.render, also in what it raises."""
        before = self._template.render(_BEFORE, add_generation_prompt=False)
        text = self._template.render([*_BEFORE, *messages], add_generation_prompt)
        if not text.startswith(before):
            return self._template.render(messages, add_generation_prompt)
        return text.removeprefix(before)
