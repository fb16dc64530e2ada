"""Requests of Ollama's clients as the chat or completion that gives the same answer."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from server.api.errors import invalid_request
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.embeddings import EmbeddingRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.ollama import (
    Message,
    OllamaChatRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaRequest,
    Options,
)
from server.api.schemas.peer_fields import ALIASES, UNSUPPORTED
from server.api.schemas.prompt import PromptRequest
from server.assistant.arguments import arguments_text

Body = TypeVar("Body", bound=BaseModel)

_RENAMED = {
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "penalty_last_n",
    "num_predict": "max_tokens",
}
_OURS = {theirs: ours for ours, theirs in _RENAMED.items()}
_KNOWN = (GenerationRequest.model_fields.keys() | ALIASES.keys() | UNSUPPORTED.keys()) - {
    *PromptRequest.model_fields,
    *("n", "n_cmpl", "best_of", "save_state", "stream", "stream_options", "priority", "suffix"),
}
"""What options may have besides Ollama's own: chat keeps to it or refuses it."""


def in_our_words(name: str) -> str:
    """What a field of chat is called here."""
    if name.startswith("response_format"):
        return "format"
    first, *rest = name.split(".")
    first = _OURS.get(first, first)
    is_option = first in Options.model_fields or first in _KNOWN
    return ".".join(["options", first, *rest]) if is_option else name


def chat_of(body: OllamaChatRequest, most_tokens: int) -> ChatCompletionRequest:
    """The chat of a conversation. Raises RequestValidationError."""
    fields = _shared(body, most_tokens) | {
        "messages": [_message(message) for message in body.messages],
        "tools": body.tools,
    }
    return _validated(ChatCompletionRequest, fields | _thinking(body) | _logprobs(body))


def chat_of_prompt(body: OllamaGenerateRequest, most_tokens: int) -> ChatCompletionRequest:
    """The chat of one message. Raises RequestValidationError."""
    messages = [{"role": "user", "content": body.prompt}]
    if body.system:
        messages.insert(0, {"role": "system", "content": body.system})
    fields = _shared(body, most_tokens) | {"messages": messages}
    return _validated(ChatCompletionRequest, fields | _thinking(body) | _logprobs(body))


def completion_of(body: OllamaGenerateRequest, most_tokens: int) -> CompletionRequest:
    """The continuation of a raw prompt, or up to a suffix. Raises RequestValidationError."""
    fields = _shared(body, most_tokens) | {"prompt": body.prompt, "suffix": body.suffix}
    if body.logprobs:
        fields["logprobs"] = body.top_logprobs
    return _validated(CompletionRequest, fields)


def embedding_of(body: OllamaEmbedRequest) -> EmbeddingRequest:
    """The same in OpenAI's terms. Raises RequestValidationError."""
    inputs = body.input if body.prompt is None else body.prompt
    return _validated(EmbeddingRequest, {"input": inputs, "dimensions": body.dimensions})


def _shared(body: OllamaRequest, most_tokens: int) -> dict[str, Any]:
    names = body.model_fields_set & PromptRequest.model_fields.keys()
    fields = {name: getattr(body, name) for name in names} | _sampling(body.options, most_tokens)
    if body.format == "json":
        fields["response_format"] = {"type": "json_object"}
    elif isinstance(body.format, dict):
        named = {"name": "format", "schema": body.format}
        fields["response_format"] = {"type": "json_schema", "json_schema": named}
    return fields


def _sampling(options: Options, most_tokens: int) -> dict[str, Any]:
    given = options.model_dump(exclude_none=True)
    fields = {
        _RENAMED.get(name, name): value
        for name, value in given.items()
        if name in Options.model_fields or name in _KNOWN
    }
    if (wanted := options.num_predict) is not None:
        fields["max_tokens"] = min(wanted, most_tokens) if wanted > 0 else most_tokens
    return fields


def _thinking(body: OllamaRequest) -> dict[str, Any]:
    if isinstance(body.think, str):
        return {"reasoning_effort": body.think}
    return {} if body.think is None else {"enable_thinking": body.think}


def _logprobs(body: OllamaRequest) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": body.top_logprobs} if body.logprobs else {}


def _message(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.content is None and message.role != "assistant":
        fields["content"] = ""
    if message.thinking:
        fields["reasoning_content"] = message.thinking
    if message.tool_name:
        fields["name"] = message.tool_name
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": arguments_text(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return fields


def _validated(kind: type[Body], fields: dict[str, Any]) -> Body:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, in_our_words) from None
