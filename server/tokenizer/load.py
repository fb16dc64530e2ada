"""The tokenizer that a setting names."""

from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_header import is_gguf
from server.checkpoints.gguf_vocabulary import read_gguf_vocabulary
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary


def load_tokenizer(spec: str, vocab_size: int, eos_token: str = "") -> Tokenizer:
    """Load `world`, `bytes`, a tokenizer.json or what a GGUF holds for a model of `vocab_size`.

    `eos_token` names the end of a document where the files that came with the model do. Raises
    TokenizerError, also when the tokenizer has ids that the model does not know.
    """
    tokenizer: Tokenizer
    if spec == "world":
        tokenizer = WorldTokenizer(load_world_vocabulary())
    elif spec == "bytes":
        tokenizer = ByteTokenizer()
    elif is_gguf(Path(spec).expanduser()):
        tokenizer = _from_gguf(Path(spec).expanduser())
    else:
        tokenizer = HuggingFaceTokenizer(Path(spec).expanduser(), eos_token)
    if tokenizer.vocab_size > vocab_size:
        raise TokenizerError(
            f"tokenizer {spec}: its ids reach {tokenizer.vocab_size - 1}, but the model's "
            f"vocabulary has only {vocab_size}; pass the tokenizer of this model"
        )
    return tokenizer


def _from_gguf(path: Path) -> Tokenizer:
    try:
        vocabulary = read_gguf_vocabulary(path)
    except CheckpointError as error:
        raise TokenizerError(str(error)) from None
    if vocabulary == [bytes((byte,)) for byte in range(256)]:
        return ByteTokenizer()
    return WorldTokenizer({i: token for i, token in enumerate(vocabulary) if token}, str(path))
