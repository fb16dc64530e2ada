"""Stand-ins for what reads and writes text: a tokenizer of bytes and a chat template."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self


class FakeTokenizer:
    """Id 0 ends a document, id b + 1 is the byte b."""

    vocab_size = 257
    eos_id = 0
    special_tokens = {"<end>": 0}  # noqa: RUF012
    takes_whitespace: dict[int, tuple[bool, bool]] = {}  # noqa: RUF012

    @property
    def amid(self) -> Self:
        """The same."""
        return self

    def encode(self, text: str) -> list[int]:
        """The text's UTF-8 bytes, each plus one."""
        return [byte + 1 for byte in text.encode()]

    def pieces(self, text: str) -> Iterator[list[int]]:
        """The same, a thousand characters at a time."""
        for start in range(0, len(text), 1000):
            yield self.encode(text[start : start + 1000])

    def decode(self, ids: Iterable[int]) -> str:
        """The inverse of encode()."""
        return b"".join(self.token_bytes(ident) for ident in ids).decode(errors="replace")

    def settled(self, text: str, ids: Sequence[int]) -> tuple[int, int]:
        """All of it: each character is encoded by itself."""
        return len(text), len(ids)

    def token_bytes(self, token_id: int) -> bytes:
        """One byte, or none for the end of a document."""
        return bytes([token_id - 1]) if token_id else b""


class FakeTemplate:
    """`role: content` paragraphs; other variables than enable_thinking are only kept."""

    stop = ("\n\nuser:",)
    source = "{# fake #}"
    bos_token = ""
    call_syntax: str | None = "hermes"
    begins_answers_alike = False
    thread = None

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.rendered: list[list[dict[str, Any]]] = []
        self.variables: list[dict[str, Any]] = []

    def knows(self, variable: str) -> bool:
        """Tools and thinking, but no documents."""
        return variable in ("tools", "enable_thinking", "reasoning_effort")

    def render(
        self,
        messages: list[dict[str, Any]],
        add_generation_prompt: bool = True,
        variables: dict[str, Any] | None = None,
    ) -> str:
        """Keeps the messages for the test to look at; refuses them if it has an error."""
        if self.error:
            raise self.error
        self.rendered.append(messages)
        self.variables.append(variables or {})
        paragraphs = [f"{message['role']}: {message['content']}" for message in messages]
        if add_generation_prompt:
            thinks = (variables or {}).get("enable_thinking")
            paragraphs.append("assistant: <think" if thinks else "assistant:")
        return "\n\n".join(paragraphs)
