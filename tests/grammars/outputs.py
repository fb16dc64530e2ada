"""What grammars are tried with: vocabularies of each kind, and random outputs."""

import numpy as np
from llguidance.numpy import fill_next_token_bitmask

from server.grammars.compiling import check_matcher, compile_grammar
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from tests.tokenizer.files import byte_fallback, byte_level

LOGITS = {"bytes": 256, "world": 65_536, "bpe": 320, "pieces": 270}
"""Of a model with such a vocabulary; there may be more than tokens."""


def make_tokenizer(kind, folder):
    """One of LOGITS."""
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "world":
        return WorldTokenizer(load_world_vocabulary())
    {"bpe": byte_level, "pieces": byte_fallback}[kind](folder / f"{kind}.json")
    return HuggingFaceTokenizer(folder / f"{kind}.json")


def random_output(grammar, vocabulary, tokenizer, seed, at_most=400):
    """A text that the grammar allows, each next token as likely as the others."""
    matcher = compile_grammar(grammar, vocabulary)
    rng = np.random.default_rng(seed)
    bits = np.zeros((1, -(-vocabulary.vocab_size // 32)), np.int32)
    ids = []
    while not matcher.is_stopped():
        fill_next_token_bitmask(matcher, bits)
        check_matcher(matcher)
        token = int(
            rng.choice(np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")))
        )
        if token == tokenizer.eos_id:
            break
        assert tokenizer.token_bytes(token), "a special token, or none"
        matcher.consume_token(token)
        check_matcher(matcher)
        ids.append(token)
        assert len(ids) <= at_most
    return tokenizer.decode(ids)


def accepts(grammar, vocabulary, tokenizer, text):
    """Whether the grammar allows a text and its end."""
    matcher = compile_grammar(grammar, vocabulary)
    return matcher.consume_tokens(tokenizer.encode(text)) and matcher.is_accepting()
