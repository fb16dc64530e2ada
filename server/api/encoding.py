"""From the text of a request to token ids."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from server.api.assistant.form import Opening
from server.api.boundaries import chat_boundaries
from server.api.conversation import Conversation
from server.api.errors import ApiError
from server.config import LimitsSettings
from server.registry.served_model import ServedModel
from server.snapshots.snapshot import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError

T = TypeVar("T")
Boundaries = dict[int, SnapshotKind]
# Longer texts are encoded in a thread: at about 1 MB/s they would hold up every other stream.
THREAD_CHARS = 16 * 1024


class EncodedMessages(NamedTuple):
    """A conversation as token ids."""

    ids: list[int]
    boundaries: Boundaries
    """After how many of them messages end."""
    opening: Opening
    """What they have begun of the answer."""


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
    conversation: Conversation, model: ServedModel, limits: LimitsSettings, after_state: bool
) -> EncodedMessages:
    """The prompt of a conversation, which may be empty only after a state. Raises ApiError."""
    encoded = await run_encoding(
        conversation.characters, _encode_chat, conversation, model.tokenizer
    )
    if not encoded.ids and not after_state:
        raise ApiError("invalid_value", "messages have no text", "messages")
    check_length(encoded.ids, "messages", limits)
    return encoded


def _encode_chat(conversation: Conversation, tokenizer: Tokenizer) -> EncodedMessages:
    text = prompt_of(conversation)
    ids = tokenizer.encode(text)
    boundaries = chat_boundaries(
        conversation.messages,
        text,
        ids,
        conversation.template,
        tokenizer,
        conversation.breakpoints,
    )
    return EncodedMessages(ids, boundaries, conversation.opening(text))


def prompt_of(conversation: Conversation) -> str:
    """The text of a conversation's prompt. Raises ApiError."""
    try:
        return conversation.prompt()
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
