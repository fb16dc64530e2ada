"""Single tokens as text, and the names of special tokens, of every kind of vocabulary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.checkpoints.locate import EMBEDDED
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.token_text import (
    names_of_special,
    split_at_names,
    token_piece,
    token_text,
)
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary

TOKENIZERS = {
    "world": WorldTokenizer(load_world_vocabulary()),
    "bpe": HuggingFaceTokenizer(EMBEDDED / "tokenizer.json"),
    "bytes": ByteTokenizer(),
}
ENDS = {
    "world": "<|rwkv_tokenizer_end_of_text|>",
    "bpe": "<|endoftext|>",
    "bytes": "<|endoftext|>",
}

every_vocabulary = pytest.mark.parametrize("kind", TOKENIZERS)


def encode_with_names(text, tokenizer):
    parts = split_at_names(text, tokenizer)
    return [
        i for part in parts for i in ([part] if isinstance(part, int) else tokenizer.encode(part))
    ]


def decode_with_names(ids, tokenizer):
    names = names_of_special(tokenizer)
    data = b"".join(tokenizer.token_bytes(i) or names.get(i, b"") for i in ids)
    return data.decode("utf-8", "replace")


@every_vocabulary
def test_the_end_of_a_document_has_a_name_and_only_that(kind):
    tokenizer, name = TOKENIZERS[kind], ENDS[kind]
    assert tokenizer.special_tokens == {name: tokenizer.eos_id} == {name: 0}
    assert token_text(0, tokenizer) == token_piece(0, tokenizer) == name
    assert 0 not in tokenizer.encode(name)
    assert tokenizer.decode(tokenizer.encode(name)) == name


@every_vocabulary
@given(st.text().filter(lambda text: "\0" not in text))
def test_a_text_comes_back_from_its_ids(kind, text):
    tokenizer = TOKENIZERS[kind]
    assert decode_with_names(tokenizer.encode(text), tokenizer) == text


@every_vocabulary
@given(texts=st.lists(st.text("ab<|é語 \n", max_size=8), max_size=5))
def test_names_are_read_where_they_stand(kind, texts):
    tokenizer, name = TOKENIZERS[kind], ENDS[kind]
    text = name.join(texts)
    ids = encode_with_names(text, tokenizer)
    assert ids.count(0) == max(len(texts) - 1, 0)
    assert decode_with_names(ids, tokenizer) == text
    expected = [tokenizer.encode(part) for part in texts]
    assert ids == [i for number, part in enumerate(expected) for i in ([0] * (number > 0) + part)]


@every_vocabulary
def test_a_part_of_a_character_is_shown_as_its_bytes(kind):
    tokenizer = TOKENIZERS[kind]
    (part,) = (t for t in range(1, 600) if tokenizer.token_bytes(t) == b"\xe8")
    assert token_text(part, tokenizer) == "bytes:\\xe8"
    assert token_piece(part, tokenizer) == [0xE8]
    (letter,) = tokenizer.encode("a")
    assert token_text(letter, tokenizer) == token_piece(letter, tokenizer) == "a"


@every_vocabulary
def test_different_bytes_have_different_texts(kind):
    tokenizer = TOKENIZERS[kind]
    seen = {}
    for token in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(token)
        assert seen.setdefault(token_text(token, tokenizer), data) == data


def test_of_two_names_the_longer_one_counts():
    class Nested(ByteTokenizer):
        special_tokens = {"<e>": 1, "<e>>": 2}  # noqa: RUF012

    assert encode_with_names("<e>>", Nested()) == [2]
    assert encode_with_names("<e>a", Nested()) == [1, 97]


def test_a_vocabulary_without_special_tokens():
    class Plain(ByteTokenizer):
        special_tokens = {}  # noqa: RUF012

    assert encode_with_names("a", Plain()) == [97]
    assert token_text(0, Plain()) == ""
