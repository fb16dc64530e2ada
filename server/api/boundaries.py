"""Where in a conversation others may well go on differently: what the state cache keeps there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.chat_template import Renderer


def chat_boundaries(
    messages: Sequence[Mapping[str, Any]],
    text: str,
    ids: Sequence[int],
    template: Renderer,
    tokenizer: Tokenizer,
) -> tuple[int, ...]:
    """After how many of the ids the system message and the last message end.

    The next turn leaves the prompt at the latter: what a client sends back of an answer is not
    always what was generated. `text` is what the messages render to, `ids` what it encodes to.
    """
    ends = sorted({len(part.encode()) for part in _parts(messages, text, template)})
    found = []
    position, count = 0, 0
    for end in ends:
        while count < len(ids):
            size = len(tokenizer.token_bytes(ids[count]))
            if position + size > end:
                break
            position, count = position + size, count + 1
        found.append(count)
    return tuple(found)


def _parts(messages: Sequence[Mapping[str, Any]], text: str, template: Renderer) -> Iterator[str]:
    """Beginnings of the text that are whole messages, without the blanks after them."""
    beginnings = [messages]
    if len(messages) > 1 and messages[0]["role"] in ("system", "developer"):
        beginnings.append(messages[:1])
    for beginning in beginnings:
        try:
            part = template.render(beginning, add_generation_prompt=False).rstrip()
        except TokenizerError:  # a template may refuse a conversation that is only begun
            continue
        if part and text.startswith(part):
            yield part
