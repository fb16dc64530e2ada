"""Words that an output must not have, whatever tokens there are to write them with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.sampling.edits import NOTHING, TokenValues
from server.sampling.params import NEVER
from server.sampling.unwanted_words import UnwantedWords, Vocabulary, joined


class Tokens:
    """A tokenizer of these texts; id 0 has none."""

    eos_id = 0

    def __init__(self, texts):
        self.texts = [b"", *texts]
        self.vocab_size = len(self.texts)

    def token_bytes(self, token):
        return self.texts[token]


TEXTS = st.lists(st.text("abé雪", min_size=1, max_size=5), min_size=1, max_size=30, unique=True)
WORDS = st.lists(st.text("abé雪", min_size=1, max_size=4), min_size=1, max_size=5)


@given(data=st.data(), texts=TEXTS, words=WORDS, resumes=st.booleans())
@settings(max_examples=300, deadline=None)
def test_just_those_tokens_are_banned_after_which_the_text_would_have_a_word(
    data, texts, words, resumes
):
    # Bytes as well: characters may be cut anywhere.
    pieces = {text.encode() for text in texts} | {bytes([byte]) for byte in "aé雪".encode()}
    tokens = Tokens(sorted(pieces))
    follower, written, generated = UnwantedWords(words, tokens, []), b"", []
    for _ in range(8):
        if resumes:
            follower = UnwantedWords(words, tokens, generated)
        biases = follower.biases()
        assert (biases.values == NEVER).all()
        expected = [
            token
            for token in range(tokens.vocab_size)
            if any(word.encode() in written + tokens.texts[token] for word in words)
        ]
        assert biases.tokens.tolist() == expected
        left = sorted(set(range(tokens.vocab_size)) - set(expected))
        token = data.draw(st.sampled_from(left))
        follower.add(token)
        generated.append(token)
        written += tokens.texts[token]


def test_edits_are_joined_in_their_order():
    one = TokenValues(np.array([3]), np.array([1.0], np.float32))
    assert joined(NOTHING, one) is one
    assert joined(one, NOTHING) is one
    assert joined(one, one).tokens.tolist() == [3, 3]


@pytest.mark.parametrize("text", [b"a", b"\xff", b"\xff\xff", b"a\xff", b"\xc3"])
def test_tokens_that_begin_alike_are_found_whatever_their_bytes(text):
    texts = sorted({bytes([a, b]) for a in (97, 98, 195, 255) for b in (0, 97, 255)} | {b"a"})
    tokens = Tokens(texts)
    found = sorted(Vocabulary(tokens).beginning_with(text).tolist())
    assert found == [i for i, each in enumerate(tokens.texts) if each.startswith(text)]
