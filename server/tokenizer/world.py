"""The World tokenizer: the longest token that matches the next bytes, again and again."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Self

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from server.tokenizer.base import TokenizerError, utf8

VOCABULARY = "rwkv_vocab_v20230424.txt"

END_OF_TEXT = "<|rwkv_tokenizer_end_of_text|>"
LAST_TEXT_ID = 65_529
"""Of the published vocabulary."""

MAX_TOKEN_BYTES = 1024
"""Of one token: what a step looks ahead for each of its tokens, at most."""

MAX_BYTES = 8 << 20
"""Of all tokens; the automaton takes some 40 bytes for each of these."""

_PIECE_BYTES = 16 << 10


class WorldTokenizer:
    """Greedy longest match over the bytes of the text.

    `tokens` is id → bytes and must hold every single byte. Id 0 is the end of a document. Raises
    TokenizerError that names the `source` of tokens that are not so.
    """

    eos_id = 0
    takes_whitespace: Mapping[int, tuple[bool, bool]] = {}

    def __init__(
        self,
        tokens: dict[int, bytes],
        source: str = "World vocabulary",
        special: Mapping[str, int] | None = None,
    ) -> None:
        """`special` are names that the files of the model have for tokens which are no text.

        A token of the vocabulary that was published is text, whatever they say; one that a model
        has beyond it is not if it has such a name, so no text becomes it.
        """
        named = {
            name: token_id
            for name, token_id in (special or {}).items()
            if _is_special(name, token_id, tokens)
        }
        # The vocabulary has no name for it; this is what models of Hugging Face's format call it.
        self.special_tokens: Mapping[str, int] = {**named, END_OF_TEXT: 0}
        hidden = set(named.values())
        tokens = {number: token for number, token in tokens.items() if number not in hidden}
        self.vocab_size = max([*tokens, *named.values()], default=0) + 1
        self._bytes = tokens
        ids = {token: token_id for token_id, token in tokens.items()}
        missing = [byte for byte in range(256) if bytes((byte,)) not in ids]
        if missing or 0 in tokens:
            raise TokenizerError(f"{source}: wants all single bytes, and 0 for the end")
        self._longest = max(map(len, ids))
        if self._longest > MAX_TOKEN_BYTES or sum(map(len, ids)) > MAX_BYTES:
            raise TokenizerError(
                f"{source}: tokens must have at most {MAX_TOKEN_BYTES} bytes, and {MAX_BYTES} in "
                "all; pass the tokenizer of this model"
            )
        self._ids = list(ids.values())
        # Every byte is a token, so matches follow each other without a gap: greedy longest match.
        self._matcher = BytesAhoCorasick(
            ids, matchkind=MatchKind.LeftmostLongest, implementation=Implementation.NoncontiguousNFA
        )

    @property
    def amid(self) -> Self:
        """See Tokenizer."""
        return self

    def encode(self, text: str) -> list[int]:
        """Ids of the text; around 10 MB/s."""
        return [token_id for piece in self.pieces(text) for token_id in piece]

    def pieces(self, text: str) -> Iterator[list[int]]:
        """The same, some at a time."""
        data, ids = utf8(text), self._ids
        size, longest = max(_PIECE_BYTES, 4 * self._longest), self._longest
        start = 0
        while start < len(data):
            part = data[start : start + size]
            found = self._matcher.find_matches_as_indexes(part)
            if start + len(part) < len(data):  # the last ones might go on in the next part
                while found[-1][1] > len(part) - longest:
                    found.pop()
            yield [ids[pattern] for pattern, _, _ in found]
            start += found[-1][2]

    def settled(self, text: str, ids: Sequence[int]) -> tuple[int, int]:
        """See Tokenizer: all up to where the longest token could still reach beyond the text."""
        data = utf8(text)
        end, count = len(data), len(ids)
        while count and (end > len(data) - self._longest or _is_amid_character(data, end)):
            count -= 1
            end -= len(self._bytes[ids[count]])
        return (len(text) - len(data[end:].decode()), count) if count else (0, 0)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; empty for the end of document and unknown ids."""
        return self._bytes.get(token_id, b"")

    def decode(self, ids: Iterable[int]) -> str:
        """Text of whole ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")


def _is_amid_character(data: bytes, place: int) -> bool:
    return place < len(data) and data[place] & 0xC0 == 0x80


def _is_special(name: str, token_id: int, tokens: Mapping[int, bytes]) -> bool:
    beyond = token_id > LAST_TEXT_ID and tokens.get(token_id) == name.encode()
    return token_id not in tokens or beyond


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
