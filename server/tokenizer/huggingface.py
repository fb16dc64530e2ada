"""Tokenizers of a Hugging Face `tokenizer.json`, with the bytes of every token."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from server.tokenizer.base import TokenizerError, utf8

MAX_FILE_BYTES = 64 << 20

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_METASPACE = "▁"
_END_OF_DOCUMENT = ("<|endoftext|>", "<|eos|>", "</s>", "<eos>", "<|end_of_text|>")


class HuggingFaceTokenizer:
    """A tokenizer file whose tokens are bytes: byte-level BPE, or pieces with byte fallback."""

    def __init__(self, path: Path, eos_token: str = "") -> None:
        """Read the file. Raises TokenizerError, one line, when it is none or of another kind."""
        text = _read(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises plain Exception
            raise TokenizerError(f"{path}: not a usable tokenizer: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A user who types <|endoftext|> must not end the document: it is text like any other.
        self._tokenizer.encode_special_tokens = True
        self._bytes = _bytes_of_tokens(path, self._tokenizer, json.loads(text))
        self.vocab_size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        if not self.vocab_size:
            raise TokenizerError(f"{path}: the vocabulary is empty")
        self.eos_id = self._find_eos(path, eos_token)
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_tokens = {t.content: token_id for token_id, t in added.items() if t.special}

    def encode(self, text: str) -> list[int]:
        """Ids of the text, without any special tokens."""
        clean = utf8(text).decode("utf-8")
        return list(self._tokenizer.encode(clean, add_special_tokens=False).ids)

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


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TokenizerError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
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
