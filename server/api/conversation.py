"""The messages of a request, and what makes the prompt of them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.api.bodies.count import MAX_LEVELS, check_sizes
from server.api.boundaries import content_end
from server.api.errors import ApiError
from server.api.schemas.chat import ChatPromptRequest
from server.api.schemas.role_fields import GREETING
from server.api.schemas.states import StateRequest
from server.api.schemas.template_fields import TemplateFields
from server.assistant.arguments import arguments_object, arguments_text
from server.assistant.form import Opening, opening_of, opening_within
from server.registry.served_model import ServedModel
from server.tokenizer.base import TokenizerError
from server.tokenizer.chat_template import Renderer
from server.tokenizer.continued_template import ContinuedTemplate
from server.tokenizer.g1_turns import G1Turns
from server.tokenizer.request_template import RequestTemplate

Message = dict[str, Any]

MOST_BREAKPOINTS = 4
"""Of the breakpoints of a request, so many count, the latest."""
_MARK_CHARACTERS = 16
"""About what a template writes around a message or call: thousands of empty ones are long, too."""
MAX_ARGUMENT_VALUES = 100_000
"""Of all calls; as many numbers beside the others."""
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
    further_names: tuple[str, ...] = ()
    """Of functions that it was told of in the messages."""
    returns_objects: bool = False
    """Whether the client gets the arguments of calls as objects, and so sends them back."""
    breakpoints: list[tuple[int, int]] = field(default_factory=list)
    """The index of a message, and after how many characters of its content a state is kept."""
    thread: ThreadPoolExecutor | None = None
    """Where it has to be rendered; None: anywhere."""
    wants_reasoning: bool | None = None
    """Whether the model is to reason, as its template is told; None: it is told nothing."""

    @property
    def characters(self) -> int:
        """About how long the prompt will be."""
        said = sum(len(message["content"]) for message in self.messages)
        calls = [call for message in self.messages for call in message.get("tool_calls", ())]
        called = sum(len(call["function"]["arguments"]) for call in calls)
        marks = _MARK_CHARACTERS * (len(self.messages) + len(calls))
        return said + called + marks + len(msgspec.json.encode(self.tools))

    def prompt(self) -> str:
        """The text that the answer follows. Raises TokenizerError."""
        self._check_arguments()
        text = self.template.render(self.messages, self.add_generation_prompt)
        if not self.continues:
            return text
        content = self.messages[-1]["content"]
        end = content_end(self.messages, len(self.messages) - 1, len(content), text, self.template)
        if not text[:end].rstrip().endswith(content.strip()):
            raise TokenizerError("chat template: changes the last message; it cannot be continued")
        return text[:end]

    def _check_arguments(self) -> None:
        """What calls have as JSON becomes objects, for some templates: all of it together."""
        calls = [call for message in self.messages for call in message.get("tool_calls", ())]
        try:
            check_sizes([call["function"]["arguments"] for call in calls], MAX_ARGUMENT_VALUES)
        except ValueError:
            raise TokenizerError(
                f"tool_calls: the arguments of all calls must have at most {MAX_ARGUMENT_VALUES} "
                f"strings, objects, lists and numbers, in at most {MAX_LEVELS} levels"
            ) from None

    def opening(self, prompt: str) -> Opening:
        """What the prompt has begun of the answer."""
        return (
            opening_within(self.messages[-1]["content"]) if self.continues else opening_of(prompt)
        )

    def as_returned(self, answer: Message) -> Message:
        """An answer's message as the client will send it back."""
        if not self.returns_objects or "tool_calls" not in answer:
            return answer
        calls = []
        for call in answer["tool_calls"]:
            function = call["function"]
            arguments = arguments_text(arguments_object(function["arguments"]))
            calls.append({**call, "function": {**function, "arguments": arguments}})
        return {**answer, "tool_calls": calls}

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
    greeting = [{"role": role, "content": text} for role, text in GREETING if body.presystem]
    breakpoints = [
        (at, end)
        for at, each in enumerate(body.messages, len(greeting))
        for end in each.breakpoints
    ]
    return Conversation(
        template_of(body, model),
        [*greeting, *(message.as_dict() for message in body.messages)],
        add_generation_prompt=not continues if wanted is None else wanted,
        continues=continues,
        tools=body.shown_tools,
        breakpoints=breakpoints[-MOST_BREAKPOINTS:],
        thread=model.chat_template.thread,
        wants_reasoning=_reasoning(body, model)[0],
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
    for name in body.role_names:
        if not template.knows(name):
            raise _unsupported(name, "has no place for it")
    variables, turns = _variables(body, model), _turns(body, model)
    bound = RequestTemplate(template, body.shown_tools, variables, turns)
    return ContinuedTemplate(bound) if body.state_id else bound


def _unsupported(param: str, why: str) -> ApiError:
    message = f"{param}: the chat template of this model {why}"
    return ApiError("unsupported_parameter", message, param)


def _variables(body: TemplateFields, model: ServedModel) -> dict[str, Any]:
    variables: dict[str, Any] = {**body.chat_template_kwargs, **body.role_names}
    if model.chat_template.knows("documents"):
        variables["documents"] = body.documents or None
    thinks, effort = _reasoning(body, model)
    given = {"enable_thinking": thinks, "reasoning_effort": effort}
    if model.chat_template.knows("thinking_words"):  # of the built-in one; "": it never thinks
        given["thinking_words"] = model.thinking_words or ""
    variables = {name: value for name, value in variables.items() if name not in given}
    return variables | {name: value for name, value in given.items() if value is not None}


def _turns(body: TemplateFields, model: ServedModel) -> G1Turns | None:
    """For a template of the model's own that speaks as World and G1 models do."""
    template = model.chat_template
    if model.thinking_words is None or template.built_in or not template.speaks_in_turns:
        return None
    thinks, effort = _reasoning(body, model)
    return G1Turns(model.thinking_words, thinks, effort)


def _reasoning(body: TemplateFields, model: ServedModel) -> tuple[bool | None, Any]:
    """Whether the model is to reason, and with which effort, as far as that is decided."""
    kwargs = body.chat_template_kwargs
    effort = kwargs.get("reasoning_effort") or body.reasoning_effort
    thinks = kwargs.get("enable_thinking")
    thinks = body.enable_thinking if thinks is None else thinks
    if model.reasoning == "off":
        return False, None
    if thinks is None and effort is not None:
        thinks = effort not in _WITHOUT_THOUGHTS
    if thinks is None and model.reasoning == "on":
        thinks = True
    return thinks, effort
