"""What every tokenizer does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol


class TokenizerError(ValueError):
    """One line that names the tokenizer or template and what is wrong with it."""

    def __init__(self, message: str) -> None:
        # Messages quote untrusted files: keep them to one printable line.
        line = " ".join(message[:600].split())
        super().__init__("".join(c if c.isprintable() else "�" for c in line))


class Tokenizer(Protocol):
    """Text to token ids and back. Safe to share between threads."""

    @property
    def vocab_size(self) -> int:
        """All ids are below it."""

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Names of tokens that stand for no text → their ids; texts are never read as names."""

    @property
    def takes_whitespace(self) -> Mapping[int, tuple[bool, bool]]:
        """Ids of those that take the whitespace before them, after them → whether they do."""

    @property
    def amid(self) -> "Tokenizer":
        """The tokenizer of a text that follows a special token; mostly this one."""

    def encode(self, text: str) -> list[int]:
        """Ids of the text. Never a special token, whatever the text says."""

    def pieces(self, text: str) -> Iterator[list[int]]:
        """The same ids, some at a time: no step holds the interpreter for more than milliseconds.

        Raises TokenizerError where that needs a place to split the text which it does not have.
        """

    def settled(self, text: str, ids: Sequence[int]) -> tuple[int, int]:
        """How many characters of the text, and how many of its ids, nothing that follows changes.

        So the ids of a longer text are these, and those of what it has beyond these characters.
        """

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; empty for special and unknown ids."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of whole ids; bytes that are not UTF-8 become U+FFFD."""


def utf8(text: str) -> bytes:
    """UTF-8 of any string; half surrogate pairs, which JSON can smuggle in, become "?"."""
    return text.encode("utf-8", "replace")
