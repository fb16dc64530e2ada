"""The World tokenizer: the longest token that matches the next bytes, again and again."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from server.tokenizer.base import TokenizerError, utf8

VOCABULARY = "rwkv_vocab_v20230424.txt"


class WorldTokenizer:
    """Greedy longest match over the bytes of the text.

    `tokens` is id → bytes and must hold every single byte. Id 0 is the end of a document. Raises
    TokenizerError that names the `source` of tokens that are not so.
    """

    eos_id = 0
    # The vocabulary has no name for it; this is what models in the format of Hugging Face call it.
    special_tokens: Mapping[str, int] = {"<|rwkv_tokenizer_end_of_text|>": 0}

    def __init__(self, tokens: dict[int, bytes], source: str = "World vocabulary") -> None:
        self.vocab_size = max(tokens, default=0) + 1
        self._bytes = tokens
        self._ids = {token: token_id for token_id, token in tokens.items()}
        missing = [byte for byte in range(256) if bytes((byte,)) not in self._ids]
        if missing or 0 in tokens:
            raise TokenizerError(f"{source}: wants all single bytes, and 0 for the end")
        self._lengths = _lengths_by_start(self._ids)

    def encode(self, text: str) -> list[int]:
        """Ids of the text; around 1 MB/s."""
        data = utf8(text)
        ids, lengths = self._ids, self._lengths
        found: list[int] = []
        add, end, start = found.append, len(data), 0
        while start < end:
            for length in lengths.get(data[start : start + 2], (1,)):
                token = ids.get(data[start : start + length])
                # Near the end a slice is short, and may be a token that is shorter than it says.
                if token is not None and start + length <= end:
                    add(token)
                    start += length
                    break
        return found

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; empty for the end of document and unknown ids."""
        return self._bytes.get(token_id, b"")

    def decode(self, ids: Iterable[int]) -> str:
        """Text of whole ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")


def _lengths_by_start(ids: dict[bytes, int]) -> dict[bytes, tuple[int, ...]]:
    """First two bytes → the lengths of tokens that begin so, longest first, always with 1."""
    found: dict[bytes, set[int]] = {}
    for token in ids:
        if len(token) > 1:
            found.setdefault(token[:2], {1}).add(len(token))
    return {start: tuple(sorted(lengths, reverse=True)) for start, lengths in found.items()}


@cache
def load_world_vocabulary() -> dict[int, bytes]:
    """id → bytes of the published World vocabulary: 65,529 tokens, ids 1 to 65,529.

    Raises TokenizerError when the package that brings the file is missing or the file is damaged.
    """
    try:
        text = files("rwkv").joinpath(VOCABULARY).read_text(encoding="utf-8")
    except (OSError, ImportError):
        raise TokenizerError(
            f"World vocabulary: {VOCABULARY} not found; pip install rwkv brings it"
        ) from None
    return parse_vocabulary(text)


def parse_vocabulary(text: str) -> dict[int, bytes]:
    """Parse lines of `id literal length`, the literal being a Python str or bytes."""
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            token_id, rest = line.split(" ", 1)
            literal, length = rest.rsplit(" ", 1)
            value = ast.literal_eval(literal)
            token = value.encode() if isinstance(value, str) else value
            if not isinstance(token, bytes) or not token or len(token) != int(length):
                raise ValueError("not the literal of so many bytes")
            tokens[int(token_id)] = token
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise TokenizerError(f"World vocabulary: line {number} is damaged") from None
    if not tokens:
        raise TokenizerError("World vocabulary: the file is empty")
    return tokens
