"""Where in a conversation others may well go on differently: what the state cache keeps there."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from server.api.text_threads import breathe
from server.protocol.cache_use import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError, utf8
from server.tokenizer.bounded_template import TemplateFailedError
from server.tokenizer.chat_template import Renderer
from server.tokenizer.prompt_parts import Span

Messages = Sequence[Mapping[str, Any]]

_TOKENS_AT_ONCE = 16 << 10
_MARK = "\0"  # in no text that follows a content in a prompt


def boundaries_in(
    messages: Messages,
    text: str,
    template: Renderer,
    breakpoints: Iterable[tuple[int, int]] = (),
) -> list[tuple[int, SnapshotKind]]:
    """After how many characters the last message, the system message and the breakpoints end.

    `text` is what the messages render to. A breakpoint is the index of a message, and after how
    many characters of its content it lies.
    """
    ends = [*_whole_messages(messages, text, template)]
    for index, characters in breakpoints:
        try:
            end = content_end(messages, index, characters, text, template)
        except TemplateFailedError:
            raise
        except TokenizerError:  # a template may refuse a message that was cut
            continue
        ends.append((end, "breakpoint"))
    return ends


def token_boundaries(
    ends: Sequence[tuple[int, SnapshotKind]],
    text: str,
    ids: Sequence[int],
    tokenizer: Tokenizer,
    spans: Sequence[Span] = (),
) -> dict[int, SnapshotKind]:
    """The same after how many of the ids of the text.

    Where two ends are the same, the kind is that of the later one.
    """
    counts = tokens_until([end for end, _ in ends], text, ids, tokenizer, spans)
    return dict(zip(counts, (kind for _, kind in ends), strict=True))


def content_end(
    messages: Messages, index: int, characters: int, text: str, template: Renderer
) -> int:
    """After how many characters of the text so many characters of a message's content end.

    It is where the text changes if something else follows them, and so does not depend on what the
    template makes of the content. Raises TokenizerError.
    """
    message = dict(messages[index])
    message["content"] = message["content"][:characters] + _MARK
    changed = template.render([*messages[:index], message, *messages[index + 1 :]])
    low, high = 0, min(len(text), len(changed))
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == changed[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def tokens_until(
    ends: Sequence[int],
    text: str,
    ids: Sequence[int],
    tokenizer: Tokenizer,
    spans: Sequence[Span] = (),
) -> list[int]:
    """For each end, in characters of the text: how many tokens end there or before.

    `spans` are what the parts of the text have become, if that has special tokens.
    """
    spans = spans or (Span(0, len(text), 0, len(ids)),)
    begins = [span.start for span in spans]
    within: dict[int, list[int]] = {}
    for end in sorted(set(ends)):
        within.setdefault(max(0, bisect_left(begins, end) - 1), []).append(end)
    counts: dict[int, int] = {}
    for number, some in within.items():
        span = spans[number]
        if span.is_special:
            counts |= {end: span.last if end >= span.end else span.first for end in some}
        else:
            counts |= _tokens_until(some, span, text, ids, tokenizer)
    return [counts[end] for end in ends]


def _tokens_until(
    ends: Sequence[int], span: Span, text: str, ids: Sequence[int], tokenizer: Tokenizer
) -> dict[int, int]:
    """The same for ends, in order, within a part that is text."""
    counts: dict[int, int] = {}
    position, count = 0, span.first
    for end in ends:
        limit = len(utf8(text[span.start : end]))
        while count < span.last:
            some = ids[count : min(count + _TOKENS_AT_ONCE, span.last)]
            size = sum(map(len, map(tokenizer.token_bytes, some)))
            if position + size > limit:
                within = _tokens_within(limit - position, some, tokenizer)
                size = sum(map(len, map(tokenizer.token_bytes, some[:within])))
                position, count = position + size, count + within
                break
            position, count = position + size, count + len(some)
            breathe()
        counts[end] = count
    return counts


def _tokens_within(size: int, ids: Sequence[int], tokenizer: Tokenizer) -> int:
    """How many of the first ids have no more bytes together."""
    for count, token_id in enumerate(ids):
        size -= len(tokenizer.token_bytes(token_id))
        if size < 0:
            return count
    return len(ids)


def _end_of_messages(messages: Messages, text: str, template: Renderer) -> int:
    """The same of all messages, if it is known without rendering all of them again; else 0.

    So it is where the template begins an answer alike after all messages and after the last one.
    """
    if not template.begins_answers_alike:
        return 0
    last = messages[-1:]
    ended, begun = template.render(last, False), template.render(last, True)
    opening = begun.removeprefix(ended)
    if len(opening) == len(begun) or not text.endswith(opening):
        return 0
    return len(text[: len(text) - len(opening)].rstrip())


def _whole_messages(
    messages: Messages, text: str, template: Renderer
) -> Iterator[tuple[int, SnapshotKind]]:
    """The ends of beginnings of the text that are whole messages, without the blanks after them."""
    # Without a system message a template may still write one, such as of the tools.
    has_system = messages[0]["role"] in ("system", "developer")
    beginnings: list[tuple[Messages, SnapshotKind]] = []
    end = _end_of_messages(messages, text, template)
    if end:
        yield end, "message"
    else:
        beginnings.append((messages, "message"))
    beginnings.append((messages[: int(has_system)], "system"))
    for beginning, kind in beginnings:
        try:
            part = template.render(beginning, add_generation_prompt=False).rstrip()
        except TemplateFailedError:
            raise
        except TokenizerError:  # a template may refuse a conversation that is only begun
            continue
        if part and text.startswith(part):
            yield len(part), kind
