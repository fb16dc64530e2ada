"""Ids to text as they come, never a part of a character."""

import codecs
from collections.abc import Iterable

from server.tokenizer.base import Tokenizer


class Detokenizer:
    """Text of one growing sequence: the texts of all pushes and the flush are its decode()."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        """The text that has become certain; the begin of a character is held back.

        Bytes that can no longer become a character are U+FFFD.
        """
        return self._decoder.decode(b"".join(map(self._token_bytes, ids)))

    def flush(self) -> str:
        """The rest at the end of the sequence: "" or U+FFFD for an unfinished character."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
