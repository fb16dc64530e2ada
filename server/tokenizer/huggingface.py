"""Tokenizers of a Hugging Face `tokenizer.json`, with the bytes of every token."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import tokenizers

from server.regular_file import read_regular_text
from server.tokenizer.base import TokenizerError, utf8
from server.tokenizer.growth import check_growth
from server.tokenizer.splitting import PIECE_CHARACTERS, Splitter

MAX_FILE_BYTES = 64 << 20

# A text is encoded in the thread that asks: more threads would only begin and wait.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_METASPACE = "▁"
_END_OF_DOCUMENT = ("<|endoftext|>", "<|eos|>", "</s>", "<eos>", "<|end_of_text|>")


class HuggingFaceTokenizer:
    """A tokenizer file whose tokens are bytes: byte-level BPE, or pieces with byte fallback."""

    def __init__(self, path: Path, eos_token: str = "") -> None:
        """Read the file. Raises TokenizerError, one line, when it is none or of another kind."""
        text = _read(path)
        try:
            with _library_errors():
                self._tokenizer = tokenizers.Tokenizer.from_str(text)
            config = json.loads(text)
            check_growth(config.get("normalizer"))
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"{path}: not a usable tokenizer: {error}") from None
        _read_all_as_text(self._tokenizer)
        self._bytes = _bytes_of_tokens(path, self._tokenizer, config)
        self._splitter = Splitter(config)
        self.vocab_size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        if not self.vocab_size:
            raise TokenizerError(f"{path}: the vocabulary is empty")
        self._ids = {token_id: token_id for token_id in self._bytes}
        self.eos_id = self._find_eos(path, eos_token)
        added = self._tokenizer.get_added_tokens_decoder()
        special = {token_id: t for token_id, t in added.items() if t.special}
        self.special_tokens = {token.content: token_id for token_id, token in special.items()}
        self.takes_whitespace = {
            token_id: (token.lstrip, token.rstrip)
            for token_id, token in special.items()
            if token.lstrip or token.rstrip
        }
        self.amid = self._amid(config)
        """Where only what begins a prompt gets a space before it, the tokenizer of later texts."""

    def _amid(self, config: dict[str, Any]) -> Self:
        if not _without_prefix(config.get("pre_tokenizer")):
            return self
        other = copy(self)
        other.amid = other
        other._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(config))
        _read_all_as_text(other._tokenizer)
        return other

    def encode(self, text: str) -> list[int]:
        """Ids of the text, without any special tokens; around 0.5 MB/s."""
        if len(text) <= PIECE_CHARACTERS:
            return self._encode(text)
        return [token_id for piece in self.pieces(text) for token_id in piece]

    def pieces(self, text: str) -> Iterator[list[int]]:
        """The same, some at a time. Raises TokenizerError for a long text without a place to split.

        What the library keeps of a text while it encodes is some 200 bytes for each of its own.
        """
        for part in self._splitter.parts(text):
            yield self._encode(part)

    def settled(self, text: str, ids: Sequence[int]) -> tuple[int, int]:
        """See Tokenizer: up to the last place where the text may be split."""
        characters = self._splitter.last_place(text)
        if not characters:
            return 0, 0
        return characters, len(ids) - len(self._encode(text[characters:]))

    def _encode(self, text: str) -> list[int]:
        # Other than encode() this lets other threads go on meanwhile, and leaves offsets out.
        clean = utf8(text).decode("utf-8")
        try:
            with _library_errors():
                (found,) = self._tokenizer.encode_batch_fast([clean], add_special_tokens=False)
        except ValueError as error:
            raise TokenizerError(
                f"the tokenizer of this model fails on the text: {error}"
            ) from None
        return list(map(self._ids.__getitem__, found.ids))  # one object for each id, not token

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; empty for special and unknown ids."""
        return self._bytes.get(token_id, b"")

    def decode(self, ids: Iterable[int]) -> str:
        """Text of whole ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def _find_eos(self, path: Path, eos_token: str) -> int:
        if eos_token:
            found = self._tokenizer.token_to_id(eos_token)
            if found is None:
                raise TokenizerError(f"{path}: it has no token {eos_token!r}, named as its end")
            return int(found)
        for name in _END_OF_DOCUMENT:
            if (found := self._tokenizer.token_to_id(name)) is not None:
                return int(found)
        return 0


def _read_all_as_text(tokenizer: tokenizers.Tokenizer) -> None:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A user who types <|endoftext|> must not end the document: it is text like any other.
    tokenizer.encode_special_tokens = True


def _without_prefix(pre_tokenizer: object) -> bool:
    """Change what puts a space before the first text only; whether there was such a thing."""
    if not isinstance(pre_tokenizer, dict):
        return False
    found = [_without_prefix(part) for part in pre_tokenizer.get("pretokenizers") or ()]
    is_first = pre_tokenizer.get("prepend_scheme") == "first"
    if is_first:
        pre_tokenizer["prepend_scheme"] = "never"
    return is_first or any(found)


@contextlib.contextmanager
def _library_errors() -> Iterator[None]:
    """What the library raises, which is plain Exception or a panic of Rust, becomes ValueError."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(" ".join(str(error).split())[:300]) from None


def _read(path: Path) -> str:
    try:
        return read_regular_text(path, MAX_FILE_BYTES)
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not a tokenizer.json (not UTF-8)") from None


def _bytes_of_tokens(
    path: Path, tokenizer: tokenizers.Tokenizer, config: dict[str, Any]
) -> dict[int, bytes]:
    kinds = _decoder_kinds(config.get("decoder"))
    if "ByteLevel" in kinds:
        table = _byte_level_alphabet()

        def to_bytes(token: str) -> bytes:
            try:
                return bytes(table[char] for char in token)
            except KeyError:  # added to the vocabulary as plain text
                return utf8(token)

    elif kinds & {"ByteFallback", "Metaspace"}:

        def to_bytes(token: str) -> bytes:
            if match := _BYTE_TOKEN.fullmatch(token):
                return bytes((int(match[1], 16),))
            return utf8(token.replace(_METASPACE, " "))

    else:
        found = ", ".join(sorted(kinds)) or "none"
        raise TokenizerError(f"{path}: decoder {found}; only ByteLevel and Metaspace are supported")
    tokens = {token_id: to_bytes(token) for token, token_id in tokenizer.get_vocab().items()}
    for token_id, added in tokenizer.get_added_tokens_decoder().items():
        tokens[token_id] = b"" if added.special else utf8(added.content)
    return tokens


def _decoder_kinds(decoder: object) -> set[str]:
    """The types of a decoder and, if it is a sequence, of its parts."""
    if not isinstance(decoder, dict):
        return set()
    kinds = {str(decoder.get("type"))}
    for part in decoder.get("decoders") or ():
        kinds |= _decoder_kinds(part)
    return kinds - {"Sequence"}


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins: character → byte. Printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}
