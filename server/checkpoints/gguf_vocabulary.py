"""The vocabulary and the chat template inside a GGUF file.

Tokens of kind "rwkv" are bytes, written as the inside of a Python literal of bytes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf.constants import Keys, TokenType

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_header import GgufHeader, read_gguf_header

RWKV, NO_VOCABULARY = "rwkv", "no_vocab"
"""Kinds of tokenizers, as tokenizer.ggml.model names them."""

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[^x])", re.DOTALL)
_LETTERS = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}
_ESCAPED = {ord(char): f"\\{letter}" for char, letter in zip("\t\n\r\\", "tnr\\", strict=True)}


def tokenizer_kind(header: GgufHeader) -> str:
    """`rwkv`, `gpt2`, `llama` …; "" for a file without a vocabulary. Raises CheckpointError."""
    kind = header.text(Keys.Tokenizer.MODEL) or ""
    return "" if kind == NO_VOCABULARY else kind


def chat_template(header: GgufHeader) -> str | None:
    """The Jinja source in the file. Raises CheckpointError."""
    source = header.text(Keys.Tokenizer.CHAT_TEMPLATE)
    # Some files have the name of a template that is built into llama.cpp, such as "rwkv-world".
    return source if source and ("{{" in source or "{%" in source) else None


def read_gguf_vocabulary(path: Path) -> list[bytes]:
    """The bytes of every token by id; empty for special and unused ones.

    Raises CheckpointError, also for kinds of vocabularies whose tokens are not bytes.
    """
    header = read_gguf_header(path)
    kind = tokenizer_kind(header)
    if kind != RWKV:
        what = f"its vocabulary of kind {kind} is not read" if kind else "it has no vocabulary"
        raise CheckpointError(f"{path}: {what}; pass the model's tokenizer.json as --tokenizer")
    tokens = header.metadata.get(Keys.Tokenizer.LIST)
    if not isinstance(tokens, list) or not tokens:
        raise CheckpointError(f"{path}: {Keys.Tokenizer.LIST} is missing or not a list of strings")
    types = header.metadata.get(Keys.Tokenizer.TOKEN_TYPE)
    if types is None:  # then only the end of a document is special
        types = np.full(len(tokens), TokenType.NORMAL)
        types[0] = TokenType.CONTROL
    if not isinstance(types, np.ndarray) or len(types) != len(tokens):
        raise CheckpointError(f"{path}: {Keys.Tokenizer.TOKEN_TYPE} does not fit the tokens")
    return [
        _unescape(path, token) if kind == TokenType.NORMAL else b""
        for token, kind in zip(tokens, types.tolist(), strict=True)
    ]


def control_tokens(header: GgufHeader) -> dict[str, int]:
    """The ids of control tokens by name, as the template in such a file writes them."""
    tokens = header.metadata.get(Keys.Tokenizer.LIST)
    types = header.metadata.get(Keys.Tokenizer.TOKEN_TYPE)
    if not isinstance(tokens, list) or not isinstance(types, np.ndarray):
        return {}
    found = np.flatnonzero(types[: len(tokens)] == TokenType.CONTROL).tolist()
    return {tokens[i].decode("utf-8", "replace"): i for i in found if tokens[i]}


def escape(token: bytes) -> str:
    """A token as GGUF spells it."""
    return "".join(
        _ESCAPED.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        for byte in token
    )


def stored_tokens(vocabulary: Sequence[bytes], size: int) -> tuple[list[str], list[int]]:
    """Tokens and types of `size` ids; special ones and padding have names, as llama.cpp wants."""
    tokens = [escape(token) if token else f"[PAD{i}]" for i, token in enumerate(vocabulary)]
    types = [TokenType.NORMAL if token else TokenType.UNUSED for token in vocabulary]
    if vocabulary and not vocabulary[0]:
        tokens[0], types[0] = "<s>", TokenType.CONTROL
    for i in range(len(tokens), size):
        tokens.append(f"[PAD{i}]")
        types.append(TokenType.UNUSED)
    return tokens, [int(kind) for kind in types]


def _unescape(path: Path, token: bytes) -> bytes:
    if b"\\" not in token:
        return token
    if b"\\" in _ESCAPE.sub(b"", token):
        raise CheckpointError(f"{path}: token {token[:60]!r} has a damaged escape")
    return _ESCAPE.sub(_unescaped, token)


def _unescaped(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) == 3:
        return bytes.fromhex(escaped[1:].decode())
    return _LETTERS.get(escaped, escaped)
