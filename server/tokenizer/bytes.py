"""The tokenizer of byte-level models: an id is a byte."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from server.tokenizer.base import utf8

_PIECE_CHARACTERS = 64 << 10


class ByteTokenizer:
    """256 ids. Byte 0 doubles as the end of a document."""

    vocab_size = 256
    eos_id = 0
    special_tokens: Mapping[str, int] = {"<|endoftext|>": 0}
    takes_whitespace: Mapping[int, tuple[bool, bool]] = {}

    @property
    def amid(self) -> Self:
        """See Tokenizer."""
        return self

    def encode(self, text: str) -> list[int]:
        """The bytes of the text, without NUL: it would be the end of the document."""
        return list(utf8(text).replace(b"\0", b""))

    def pieces(self, text: str) -> Iterator[list[int]]:
        """The same, some at a time."""
        for start in range(0, len(text), _PIECE_CHARACTERS):
            yield self.encode(text[start : start + _PIECE_CHARACTERS])

    def settled(self, text: str, ids: Sequence[int]) -> tuple[int, int]:
        """All of it, since each byte is encoded by itself; nothing where NUL was left out."""
        return (0, 0) if "\0" in text else (len(text), len(ids))

    def token_bytes(self, token_id: int) -> bytes:
        """One byte; none for the end of document and for ids that do not exist."""
        return bytes((token_id,)) if 0 < token_id < 256 else b""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of whole ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
