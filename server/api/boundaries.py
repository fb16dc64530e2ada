"""Where in a conversation others may well go on differently: what the state cache keeps there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from server.snapshots.snapshot import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.chat_template import Renderer

Messages = Sequence[Mapping[str, Any]]

_MARK = "\0"  # in no text that follows a content in a prompt


def chat_boundaries(
    messages: Messages,
    text: str,
    ids: Sequence[int],
    template: Renderer,
    tokenizer: Tokenizer,
    breakpoints: Iterable[tuple[int, int]] = (),
) -> dict[int, SnapshotKind]:
    """After how many of the ids the last message, the system message and the breakpoints end.

    `text` is what the messages render to, `ids` what it encodes to. A breakpoint is the index of a
    message, and after how many characters of its content it lies. Where two ends are the same, the
    kind is that of the later in the order above.
    """
    ends = [*_whole_messages(messages, text, template)]
    for index, characters in breakpoints:
        try:
            end = content_end(messages, index, characters, text, template)
        except TokenizerError:  # a template may refuse a message that was cut
            continue
        ends.append((end, "breakpoint"))
    counts = tokens_until([end for end, _ in ends], text, ids, tokenizer)
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
    ends: Sequence[int], text: str, ids: Sequence[int], tokenizer: Tokenizer
) -> list[int]:
    """For each end, in characters of the text: how many tokens end there or before."""
    counts: dict[int, int] = {}
    position, count = 0, 0
    for end in sorted(set(ends)):
        limit = len(text[:end].encode())
        while count < len(ids):
            size = len(tokenizer.token_bytes(ids[count]))
            if position + size > limit:
                break
            position, count = position + size, count + 1
        counts[end] = count
    return [counts[end] for end in ends]


def _whole_messages(
    messages: Messages, text: str, template: Renderer
) -> Iterator[tuple[int, SnapshotKind]]:
    """The ends of beginnings of the text that are whole messages, without the blanks after them."""
    # Without a system message a template may still write one, such as of the tools.
    has_system = messages[0]["role"] in ("system", "developer")
    beginnings: list[tuple[Messages, SnapshotKind]] = [(messages, "message")]
    beginnings.append((messages[: int(has_system)], "system"))
    for beginning, kind in beginnings:
        try:
            part = template.render(beginning, add_generation_prompt=False).rstrip()
        except TokenizerError:  # a template may refuse a conversation that is only begun
            continue
        if part and text.startswith(part):
            yield len(part), kind
