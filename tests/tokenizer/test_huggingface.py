"""tokenizer.json files: bytes of every token, special tokens that users cannot type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tokenizer.base import TokenizerError
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.load import load_tokenizer
from tests.tokenizer.files import byte_fallback, byte_level, word_piece


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module", params=[byte_level, byte_fallback])
def pair(request, folder):
    path = folder / f"{request.param.__name__}.json"
    oracle = request.param(path)
    return HuggingFaceTokenizer(path), oracle


@given(text=st.text(max_size=60) | st.text(" ab\n中", max_size=60))
def test_round_trip_and_oracle(pair, text):
    tokenizer, oracle = pair
    ids = tokenizer.encode(text)
    assert ids == oracle.encode(text, add_special_tokens=False).ids
    if "▁" not in text:
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids) == oracle.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("text", ["<|endoftext|>", "</s>", "a<s>b</s>", "x <|endoftext|> y"])
def test_users_cannot_type_special_tokens(pair, text):
    tokenizer, _ = pair
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_id not in ids
    assert all(tokenizer.token_bytes(token_id) for token_id in ids)


def test_facts(pair):
    tokenizer, oracle = pair
    assert tokenizer.vocab_size == oracle.get_vocab_size()
    assert tokenizer.token_bytes(tokenizer.eos_id) == b""
    assert tokenizer.token_bytes(10**6) == b""
    assert tokenizer.encode("a\ud800") == tokenizer.encode("a?")


def test_added_text_is_not_byte_level(folder):
    byte_level(folder / "b.json")
    tokenizer = HuggingFaceTokenizer(folder / "b.json")
    ids = tokenizer.encode("x    y")
    assert b"    " in [tokenizer.token_bytes(i) for i in ids]
    assert tokenizer.decode(ids) == "x    y"


def test_end_of_document(folder):
    path = folder / "b.json"
    byte_level(path)
    assert HuggingFaceTokenizer(path).eos_id == 0
    assert HuggingFaceTokenizer(path, "a").eos_id == HuggingFaceTokenizer(path).encode("a")[0]
    with pytest.raises(TokenizerError, match="no token '<nope>'"):
        HuggingFaceTokenizer(path, "<nope>")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": 3}', b"[" * 10**5])
def test_broken_files(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json") as error:
        HuggingFaceTokenizer(path)
    assert str(error.value).isprintable()


def test_unsupported_kind(tmp_path):
    word_piece(tmp_path / "tokenizer.json")
    with pytest.raises(TokenizerError, match="decoder WordPiece"):
        HuggingFaceTokenizer(tmp_path / "tokenizer.json")


def test_load(folder, tmp_path):
    byte_level(folder / "b.json")
    assert load_tokenizer("bytes", 256).vocab_size == 256
    assert load_tokenizer("world", 65_536).vocab_size == 65_530
    size = load_tokenizer(str(folder / "b.json"), 4096).vocab_size
    assert load_tokenizer(str(folder / "b.json"), size).vocab_size == size
    for spec, vocab_size in (("world", 256), ("bytes", 255), (str(folder / "b.json"), size - 1)):
        with pytest.raises(TokenizerError, match=f"has only {vocab_size}"):
            load_tokenizer(spec, vocab_size)
    with pytest.raises(TokenizerError, match="No such file"):
        load_tokenizer(str(tmp_path / "missing.json"), 256)
