"""The messages of a request, and what makes the prompt of them."""

from dataclasses import dataclass, field
from typing import Any

from server.api.assistant.form import Opening, opening_of, opening_within
from server.api.boundaries import content_end
from server.api.errors import ApiError
from server.api.schemas.chat import ChatPromptRequest
from server.api.schemas.states import StateRequest
from server.api.schemas.template_fields import TemplateFields
from server.registry.served_model import ServedModel
from server.tokenizer.base import TokenizerError
from server.tokenizer.chat_template import Renderer
from server.tokenizer.continued_template import ContinuedTemplate
from server.tokenizer.request_template import RequestTemplate

Message = dict[str, Any]

MOST_BREAKPOINTS = 4
"""Of the breakpoints of a request, so many count, the latest."""
_WITHOUT_THOUGHTS = ("none", "minimal")


@dataclass(frozen=True)
class Conversation:
    """Messages as templates want them, and how the assistant's answer follows them."""

    template: Renderer
    messages: list[Message]
    add_generation_prompt: bool = True
    continues: bool = False
    """Whether the answer goes on with the last message."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """Those that the model is told of."""
    breakpoints: list[tuple[int, int]] = field(default_factory=list)
    """The index of a message, and after how many characters of its content a state is kept."""

    @property
    def characters(self) -> int:
        """About how long the prompt will be."""
        said = sum(len(message["content"]) for message in self.messages)
        calls = [call for message in self.messages for call in message.get("tool_calls", ())]
        called = sum(len(call["function"]["arguments"]) for call in calls)
        return said + called + sum(len(str(tool)) for tool in self.tools)

    def prompt(self) -> str:
        """The text that the answer follows. Raises TokenizerError."""
        text = self.template.render(self.messages, self.add_generation_prompt)
        if not self.continues:
            return text
        content = self.messages[-1]["content"]
        end = content_end(self.messages, len(self.messages) - 1, len(content), text, self.template)
        if not text[:end].rstrip().endswith(content.strip()):
            raise TokenizerError("chat template: changes the last message; it cannot be continued")
        return text[:end]

    def opening(self, prompt: str) -> Opening:
        """What the prompt has begun of the answer."""
        return (
            opening_within(self.messages[-1]["content"]) if self.continues else opening_of(prompt)
        )

    def followed_by(self, answer: Message) -> list[Message]:
        """The messages with an answer, as the next turn has them."""
        if not self.continues:
            return [*self.messages, answer]
        last = self.messages[-1]
        return [*self.messages[:-1], {**answer, "content": last["content"] + answer["content"]}]


def conversation_of(body: ChatPromptRequest | StateRequest, model: ServedModel) -> Conversation:
    """Raises ApiError when the model's template has no place for what the request has."""
    continues = isinstance(body, ChatPromptRequest) and body.continue_final_message
    wanted = body.add_generation_prompt
    breakpoints = [(at, end) for at, each in enumerate(body.messages) for end in each.breakpoints]
    return Conversation(
        template_of(body, model),
        [message.as_dict() for message in body.messages],
        add_generation_prompt=not continues if wanted is None else wanted,
        continues=continues,
        tools=body.shown_tools,
        breakpoints=breakpoints[-MOST_BREAKPOINTS:],
    )


def template_of(body: TemplateFields, model: ServedModel) -> Renderer:
    """What renders the messages of a request: after a state they go on with a conversation.

    What such a state has read is not shown again, tools neither. Raises ApiError as above.
    """
    template = model.chat_template
    if body.shown_tools and template.call_syntax is None:
        raise _unsupported("tools", "writes calls in a way that this server does not know")
    if body.documents and not template.knows("documents"):
        raise _unsupported("documents", "has no place for them")
    bound = RequestTemplate(template, body.shown_tools, _variables(body, model))
    return ContinuedTemplate(bound) if body.state_id else bound


def _unsupported(param: str, why: str) -> ApiError:
    message = f"{param}: the chat template of this model {why}"
    return ApiError("unsupported_parameter", message, param)


def _variables(body: TemplateFields, model: ServedModel) -> dict[str, Any]:
    variables: dict[str, Any] = {**body.chat_template_kwargs}
    if model.chat_template.knows("documents"):
        variables["documents"] = body.documents or None
    effort = variables.pop("reasoning_effort", None) or body.reasoning_effort
    thinks = variables.pop("enable_thinking", None)
    thinks = body.enable_thinking if thinks is None else thinks
    if model.reasoning == "off":
        return variables | {"enable_thinking": False}
    if thinks is None and effort is not None:
        thinks = effort not in _WITHOUT_THOUGHTS
    if thinks is None and model.reasoning == "on":
        thinks = True
    given = {"enable_thinking": thinks, "reasoning_effort": effort}
    return variables | {name: value for name, value in given.items() if value is not None}
