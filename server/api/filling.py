"""Fill in the middle: from a prefix and a suffix to the ids of a prompt."""

from dataclasses import dataclass

from server.api.boundaries import token_boundaries
from server.api.encoding import (
    CHARACTERS_OF_A_TEXT,
    PromptTokens,
    check_ids,
    check_length,
    encode_text,
    run_encoding,
)
from server.api.errors import ApiError
from server.config import LimitsSettings
from server.protocol.cache_use import SnapshotKind
from server.registry.served_model import ServedModel
from server.tokenizer.base import Tokenizer
from server.tokenizer.fill_in_middle import MarkerInTextError, check_no_marker, fill_head


@dataclass(frozen=True)
class Gap:
    """What a text is to be completed between."""

    suffix: str
    before: tuple[str, ...] = ()
    """Context from elsewhere, such as of other files, in parts."""
    prefix_param: str = "prompt"
    suffix_param: str = "suffix"
    before_param: str = ""
    """What the request calls them."""


async def encode_gaps(
    prefixes: list[str] | list[list[int]], gap: Gap, model: ServedModel, limits: LimitsSettings
) -> list[PromptTokens]:
    """A prompt for each prefix: the suffix first, so that the prefix can grow at the end.

    Raises ApiError for a model that does not know it, and for texts that would forge the format.
    """
    if not model.fills_middle:
        message = (
            f"{gap.suffix_param} is not supported by the model {model.spec.id!r}: RWKV-7 G1c and "
            "later can fill in the middle; name such a model, or set fill_in_middle to on for it"
        )
        raise ApiError("unsupported_parameter", message, gap.suffix_param)
    size = sum(map(len, prefixes)) + CHARACTERS_OF_A_TEXT * len(prefixes)
    size += sum(map(len, (gap.suffix, *gap.before)))
    return await run_encoding(size, _encode, prefixes, gap, model.tokenizer, limits)


def _encode(
    prefixes: list[str] | list[list[int]], gap: Gap, tokenizer: Tokenizer, limits: LimitsSettings
) -> list[PromptTokens]:
    _check(gap.suffix, gap.suffix_param)
    for part in gap.before:
        _check(part, gap.before_param)
    before = "".join(gap.before)
    head = fill_head(gap.suffix, before)
    return [_prompt(prefix, head, len(before), gap, tokenizer, limits) for prefix in prefixes]


def _prompt(
    prefix: str | list[int],
    head: str,
    before: int,
    gap: Gap,
    tokenizer: Tokenizer,
    limits: LimitsSettings,
) -> PromptTokens:
    param = gap.prefix_param
    ends: list[tuple[int, SnapshotKind]] = [(before, "system")] if before else []
    if isinstance(prefix, str):
        _check(prefix, param)
        # As a whole: that is how such texts were tokenised for training.
        text = head + prefix
        ids = encode_text(text, tokenizer, param, limits.max_prompt_tokens)
        # Who types on changes the last line: what is before it stays.
        last_line = prefix.rfind("\n", 0, max(0, len(prefix) - 1)) + 1
        ends.append((len(head) + last_line, "message"))
    else:
        check_ids(prefix, param, tokenizer)
        _check(tokenizer.decode(prefix), param)
        text = head
        ids = encode_text(head, tokenizer, param) + prefix
        check_length(ids, param, limits)
        ends.append((len(head), "message"))
    return PromptTokens(ids, token_boundaries(ends, text, ids, tokenizer))


def _check(text: str, param: str) -> None:
    try:
        check_no_marker(text)
    except MarkerInTextError as error:
        message = (
            f"{param}: must not have {error} (also at an edge, with the marker next to it), which "
            "is where a part of the prompt begins for this model; change it, or send the prompt "
            "as it should be, without a suffix"
        )
        raise ApiError("invalid_value", message, param) from None
