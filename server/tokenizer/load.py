"""The tokenizer that a setting names."""

import re
from collections.abc import Mapping
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_header import is_gguf
from server.checkpoints.gguf_vocabulary import read_gguf_vocabulary
from server.home_folder import expanded
from server.regular_file import open_regular, read_regular_text
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary, parse_vocabulary

MAX_VOCABULARY_BYTES = 64 << 20
_VOCABULARY_LINE = re.compile(rb"\d+ b?['\"]")


def load_tokenizer(
    spec: str, vocab_size: int, eos_token: str = "", special: Mapping[str, int] | None = None
) -> Tokenizer:
    """Load `world`, `bytes`, a tokenizer.json, a World vocabulary or what a GGUF holds.

    vocab_size is that of the model.

    `eos_token` names the end of a document where the files that came with the model do, and
    `special` are the ids of special tokens by name, for tokenizers whose files do not tell them.
    Raises TokenizerError, also when the tokenizer has ids that the model does not know.
    """
    special = {
        name: token_id for name, token_id in (special or {}).items() if token_id < vocab_size
    }
    tokenizer: Tokenizer
    if spec == "world":
        tokenizer = WorldTokenizer(load_world_vocabulary(), special=special)
    elif spec == "bytes":
        tokenizer = ByteTokenizer()
    elif is_gguf(path := expanded(spec)):
        tokenizer = _from_gguf(path, special)
    else:
        tokenizer = _load_world_file(path, special) or HuggingFaceTokenizer(path, eos_token)
    if tokenizer.vocab_size > vocab_size:
        raise TokenizerError(
            f"tokenizer {spec}: its ids reach {tokenizer.vocab_size - 1}, but the model's "
            f"vocabulary has only {vocab_size}; pass the tokenizer of this model"
        )
    return tokenizer


def _from_gguf(path: Path, special: Mapping[str, int]) -> Tokenizer:
    try:
        vocabulary = read_gguf_vocabulary(path)
    except CheckpointError as error:
        raise TokenizerError(str(error)) from None
    if vocabulary == [bytes((byte,)) for byte in range(256)]:
        return ByteTokenizer()
    tokens = {i: token for i, token in enumerate(vocabulary) if token}
    return WorldTokenizer(tokens, str(path), special)


def _load_world_file(path: Path, special: Mapping[str, int]) -> WorldTokenizer | None:
    """The tokenizer of a file in the format of the World vocabulary; None for any other file."""
    try:
        with open_regular(path) as file:
            if not _VOCABULARY_LINE.match(file.read(64)):
                return None
        text = read_regular_text(path, MAX_VOCABULARY_BYTES)
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not UTF-8") from None
    try:
        return WorldTokenizer(parse_vocabulary(text), special=special)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None
