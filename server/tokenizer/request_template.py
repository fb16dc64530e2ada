"""A model's chat template together with what one request says beside its messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.tokenizer.bounded_template import BoundedTemplate
from server.tokenizer.chat_template import ChatTemplate, text_form
from server.tokenizer.g1_turns import G1Turns
from server.tokenizer.tool_messages import in_order_of_calls, with_objects, with_text


class RequestTemplate:
    """Renders messages, also such with calls and results of tools, whatever the template knows."""

    def __init__(
        self,
        template: ChatTemplate | BoundedTemplate,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        turns: G1Turns | None = None,
    ) -> None:
        """`tools` are as in a request; `variables` are for the template's own use.

        `turns` are for a template of a model that is told of its reasoning.
        """
        self._turns = turns
        self._template = template
        self._tools = tools
        self._variables = dict(variables or {})
        if template.knows("tools"):
            # As transformers has it: None, rather than undefined, when there are none.
            self._variables["tools"] = list(tools) or None

    @property
    def begins_answers_alike(self) -> bool:
        """See Renderer."""
        return self._turns is None and self._template.begins_answers_alike

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """As ChatTemplate.render, also in what it raises."""
        messages = in_order_of_calls(messages)
        if self._template.knows("tools"):
            messages = with_objects(messages)
        else:
            messages = with_text(messages, self._tools, text_form(self._template.source))
        if self._turns is None:
            return self._template.render(messages, add_generation_prompt, self._variables)
        messages = self._turns.prepared(messages)
        text = self._template.render(messages, add_generation_prompt, self._variables)
        return self._turns.begun(text, self._template) if add_generation_prompt else text
