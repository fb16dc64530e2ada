"""The tokenizer that a setting names."""

from pathlib import Path

from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary


def load_tokenizer(spec: str, vocab_size: int, eos_token: str = "") -> Tokenizer:
    """Load `world`, `bytes` or a tokenizer.json for a model of `vocab_size` tokens.

    `eos_token` names the end of a document where the files that came with the model do. Raises
    TokenizerError, also when the tokenizer has ids that the model does not know.
    """
    tokenizer: Tokenizer
    if spec == "world":
        tokenizer = WorldTokenizer(load_world_vocabulary())
    elif spec == "bytes":
        tokenizer = ByteTokenizer()
    else:
        tokenizer = HuggingFaceTokenizer(Path(spec).expanduser(), eos_token)
    if tokenizer.vocab_size > vocab_size:
        raise TokenizerError(
            f"tokenizer {spec}: its ids reach {tokenizer.vocab_size - 1}, but the model's "
            f"vocabulary has only {vocab_size}; pass the tokenizer of this model"
        )
    return tokenizer
