"""From the text of a request to token ids."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from server.api.boundaries import chat_boundaries
from server.api.errors import ApiError
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.states import StateRequest
from server.config import LimitsSettings
from server.registry.served_model import ServedModel
from server.snapshots.snapshot import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.chat_template import Renderer
from server.tokenizer.continued_template import ContinuedTemplate

T = TypeVar("T")
Boundaries = dict[int, SnapshotKind]
# Longer texts are encoded in a thread: at about 1 MB/s they would hold up every other stream.
THREAD_CHARS = 16 * 1024
MOST_BREAKPOINTS = 4
"""Of the breakpoints of a request, so many count, the latest."""


def template_of(body: PromptRequest, model: ServedModel) -> Renderer:
    """What renders the messages of a request: after a state they go on with a conversation."""
    return ContinuedTemplate(model.chat_template) if body.state_id else model.chat_template


async def encode_prompts(
    prompts: list[str] | list[list[int]],
    model: ServedModel,
    limits: LimitsSettings,
    param: str = "prompt",
) -> list[list[int]]:
    """Each prompt as token ids; ids are checked. Raises ApiError."""
    size = sum(len(prompt) for prompt in prompts if isinstance(prompt, str))
    encoded = await run_encoding(size, _encode_prompts, prompts, model.tokenizer)
    for prompt, ids in zip(prompts, encoded, strict=True):
        if prompt is ids:
            check_ids(ids, param, model.tokenizer)
        check_length(ids, param, limits)
    return encoded


def _encode_prompts(prompts: list[str] | list[list[int]], tokenizer: Tokenizer) -> list[list[int]]:
    return [tokenizer.encode(each) if isinstance(each, str) else each for each in prompts]


async def encode_messages(
    body: ChatCompletionRequest | StateRequest,
    model: ServedModel,
    limits: LimitsSettings,
    add_generation_prompt: bool,
) -> tuple[list[int], Boundaries]:
    """The prompt's ids, and after how many of them messages end."""
    messages = [message.as_dict() for message in body.messages]
    size = sum(len(message["content"]) for message in messages)
    breakpoints = [(at, end) for at, each in enumerate(body.messages) for end in each.breakpoints]
    encode = partial(_encode_chat, messages, breakpoints[-MOST_BREAKPOINTS:])
    ids, boundaries = await run_encoding(
        size, encode, template_of(body, model), model.tokenizer, add_generation_prompt
    )
    if not ids and not body.state_id:
        raise ApiError("invalid_value", "messages have no text", "messages")
    check_length(ids, "messages", limits)
    return ids, boundaries


def _encode_chat(
    messages: list[dict[str, Any]],
    breakpoints: list[tuple[int, int]],
    template: Renderer,
    tokenizer: Tokenizer,
    add_generation_prompt: bool,
) -> tuple[list[int], Boundaries]:
    text = render_messages(messages, template, add_generation_prompt)
    ids = tokenizer.encode(text)
    return ids, chat_boundaries(messages, text, ids, template, tokenizer, breakpoints)


def render_messages(
    messages: list[dict[str, Any]], template: Renderer, add_generation_prompt: bool
) -> str:
    """The prompt of messages. Raises ApiError."""
    try:
        return template.render(messages, add_generation_prompt)
    except TokenizerError as error:  # such as roles in an order that the template refuses
        raise ApiError("invalid_value", str(error), "messages") from None


async def run_encoding(size: int, encode: Callable[..., T], *args: Any) -> T:
    """Call it here, or in a thread for texts of many characters."""
    if size > THREAD_CHARS:
        return await asyncio.to_thread(encode, *args)
    return encode(*args)


def check_ids(ids: list[int], param: str, tokenizer: Tokenizer) -> None:
    """Raise ApiError for ids outside the vocabulary."""
    if ids and not (min(ids) >= 0 and max(ids) < tokenizer.vocab_size):
        raise ApiError(
            "invalid_value",
            f"{param} has a token id outside the vocabulary, 0 to {tokenizer.vocab_size - 1}",
            param,
        )


def check_length(ids: list[int], param: str, limits: LimitsSettings) -> None:
    """Raise ApiError for a prompt over the operator's cap."""
    if 0 < limits.max_prompt_tokens < len(ids):
        raise ApiError(
            "context_length_exceeded",
            f"{param} has {len(ids)} tokens, over this server's limit of "
            f"{limits.max_prompt_tokens} tokens a prompt",
            param,
        )
