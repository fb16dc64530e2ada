"""From the text of a request to token ids."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from server.api.boundaries import boundaries_in, token_boundaries
from server.api.conversation import Conversation
from server.api.encoded_prefixes import EncodedPrefix, EncodedPrefixes
from server.api.errors import ApiError
from server.api.text_threads import TEXT_THREADS, THREAD_CHARACTERS, breathe
from server.assistant.form import Opening
from server.config import LimitsSettings
from server.json_pieces import PIECE_BYTES, JsonText
from server.protocol.cache_use import SnapshotKind
from server.registry.served_model import ServedModel
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.bounded_template import TemplateFailedError
from server.tokenizer.detokenizer import Detokenizer
from server.tokenizer.prompt_parts import EncodedPrompt, encoded_parts, prompt_parts, rest_of

T = TypeVar("T")
Boundaries = dict[int, SnapshotKind]
_IDS_AT_ONCE = 16 << 10
_PREFIXES = EncodedPrefixes()
"""Those of this process."""
CHARACTERS_OF_A_TEXT = 64
"""That take as long as a text takes that has none: thousands of short ones need a thread, too."""


class PromptTokens(NamedTuple):
    """A prompt as token ids."""

    ids: list[int]
    boundaries: Boundaries
    """After how many of them others may well differ."""


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
    size = sum(map(len, prompts)) + CHARACTERS_OF_A_TEXT * len(prompts)
    return await run_encoding(size, _encode_prompts, prompts, model.tokenizer, limits, param)


def _encode_prompts(
    prompts: list[str] | list[list[int]], tokenizer: Tokenizer, limits: LimitsSettings, param: str
) -> list[list[int]]:
    found = []
    for prompt in prompts:
        if isinstance(prompt, str):
            found.append(encode_text(prompt, tokenizer, param, limits.max_prompt_tokens))
        else:
            check_length(prompt, param, limits)
            check_ids(prompt, param, tokenizer)
            found.append(prompt)
    return found


def encode_text(text: str, tokenizer: Tokenizer, param: str, most: int = 0) -> list[int]:
    """The ids of a text. Raises ApiError, also for more than `most`, if that is not 0."""
    return _encoded_whole(text, tokenizer, param, most).ids


def _encoded_whole(
    text: str, tokenizer: Tokenizer, param: str, most: int, known: EncodedPrefix | None = None
) -> EncodedPrompt:
    prompt = _encoded(text, tokenizer, param, most + 1 if most else 0, known)
    if 0 < most < len(prompt.ids):
        raise _too_long(param, "more", most)
    return prompt


def encode_beginning(text: str, tokenizer: Tokenizer, param: str, enough: int) -> list[int]:
    """The ids of a text, or only the first ones if there are `enough`. Raises ApiError.

    Others go on meanwhile, and it ends when the client leaves.
    """
    return _encoded(text, tokenizer, param, enough).ids


def _encoded(
    text: str, tokenizer: Tokenizer, param: str, enough: int, known: EncodedPrefix | None = None
) -> EncodedPrompt:
    parts = list(prompt_parts(text, tokenizer))
    prompt = EncodedPrompt()
    if known is not None and known.begins(parts):
        prompt = EncodedPrompt(known.ids[:], known.spans[:])
        parts = rest_of(parts, known.characters)
    try:
        for part, ids in encoded_parts(text, tokenizer, parts):
            prompt.add(part, ids)
            if 0 < enough <= len(prompt.ids):
                break
            breathe()
    except TokenizerError as error:
        raise ApiError("invalid_value", f"{param}: {error}", param) from None
    return prompt


async def encode_messages(
    conversation: Conversation,
    model: ServedModel,
    limits: LimitsSettings,
    after_state: bool,
    space: str | None = None,
) -> EncodedMessages:
    """The prompt of a conversation, which may be empty only after a state. Raises ApiError.

    In a `space`, what earlier turns had is not encoded again: see EncodedPrefixes.
    """
    text, ends = await _rendered(_text_and_ends, conversation)
    ids, boundaries = await run_encoding(
        len(text), _encode_chat, text, ends, model.tokenizer, limits.max_prompt_tokens, space
    )
    if not ids and not after_state:
        raise ApiError("invalid_value", "messages have no text", "messages")
    return EncodedMessages(ids, boundaries, conversation.opening(text))


async def prompt_of(conversation: Conversation) -> str:
    """The text of a conversation's prompt. Raises ApiError."""
    return await _rendered(Conversation.prompt, conversation)


async def _rendered(render: Callable[[Conversation], T], conversation: Conversation) -> T:
    size = conversation.characters
    try:
        if conversation.thread is None:
            return await run_encoding(size, render, conversation)
        return await TEXT_THREADS.run(size, render, conversation, thread=conversation.thread)
    except TemplateFailedError as error:
        raise ApiError("template_failed", str(error)) from None
    except TokenizerError as error:  # such as roles in an order that the template refuses
        raise ApiError("invalid_value", str(error), "messages") from None


def _text_and_ends(conversation: Conversation) -> tuple[str, list[tuple[int, SnapshotKind]]]:
    text = conversation.prompt()
    messages, template = conversation.messages, conversation.template
    return text, boundaries_in(messages, text, template, conversation.breakpoints)


def _encode_chat(
    text: str,
    ends: list[tuple[int, SnapshotKind]],
    tokenizer: Tokenizer,
    most: int,
    space: str | None,
) -> tuple[list[int], Boundaries]:
    known = None if space is None else _PREFIXES.find(space, text, tokenizer)
    prompt = _encoded_whole(text, tokenizer, "messages", most, known)
    if space is not None:
        _PREFIXES.keep(space, text, prompt, tokenizer)
    return prompt.ids, token_boundaries(ends, text, prompt.ids, tokenizer, prompt.spans)


async def run_encoding(size: int, encode: Callable[..., T], *args: Any) -> T:
    """Call it here, or in a thread for so many characters or ids. Raises ApiError."""
    if size > THREAD_CHARACTERS:
        return await TEXT_THREADS.run(size, encode, *args)
    return encode(*args)


def text_as_json(text: str | list[int], tokenizer: Tokenizer) -> JsonText:
    """A text, or that of whole ids as tokenizer.decode() has it. Others go on meanwhile."""
    found = JsonText()
    if isinstance(text, str):
        for start in range(0, len(text), PIECE_BYTES):
            found.add(text[start : start + PIECE_BYTES])
            breathe()
        return found
    detokenizer = Detokenizer(tokenizer)
    for start in range(0, len(text), _IDS_AT_ONCE):
        found.add(detokenizer.push(text[start : start + _IDS_AT_ONCE]))
        breathe()
    found.add(detokenizer.flush())
    return found


def check_ids(ids: list[int], param: str, tokenizer: Tokenizer) -> None:
    """Raise ApiError for ids outside the vocabulary."""
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[start : start + _IDS_AT_ONCE]
        if not (min(some) >= 0 and max(some) < tokenizer.vocab_size):
            raise ApiError(
                "invalid_value",
                f"{param} has a token id outside the vocabulary, 0 to {tokenizer.vocab_size - 1}",
                param,
            )
        breathe()


def check_length(ids: list[int], param: str, limits: LimitsSettings) -> None:
    """Raise ApiError for a prompt over the operator's cap."""
    if 0 < limits.max_prompt_tokens < len(ids):
        raise _too_long(param, str(len(ids)), limits.max_prompt_tokens)


def _too_long(param: str, found: str, most: int) -> ApiError:
    message = (
        f"{param}: must have at most {most} tokens, this server's limit for a prompt (got {found})"
    )
    return ApiError("context_length_exceeded", f"{message}; shorten it", param)
