"""Tokenizer files are told by their content."""

import pytest

from server.tokenizer.base import TokenizerError
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.load import load_tokenizer
from server.tokenizer.world import WorldTokenizer
from tests.tokenizer.files import byte_level

BYTES = "".join(f"{byte + 1} {bytes((byte,))!r} 1\n" for byte in range(256))


def test_a_world_vocabulary_of_ones_own(tmp_path):
    path = tmp_path / "whatever.json"
    path.write_text(BYTES + "257 'hé' 3\n")
    tokenizer = load_tokenizer(str(path), 300)
    assert isinstance(tokenizer, WorldTokenizer)
    assert tokenizer.encode("hé!") == [257, ord("!") + 1]
    with pytest.raises(TokenizerError, match="its ids reach 257"):
        load_tokenizer(str(path), 257)


def test_a_tokenizer_json_of_whatever_name(tmp_path):
    path = tmp_path / "vocabulary.txt"
    byte_level(path)
    assert isinstance(load_tokenizer(str(path), 1000), HuggingFaceTokenizer)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"1 'a' 7\n", "line 1 is damaged"),
        (b"1 'a' 1\n2 'b\n", "line 2 is damaged"),
        (b"1 '\xff' 1\n", "not UTF-8"),
        (b"1 'a' 1\n", "wants all single bytes"),
        (b"", "not a usable tokenizer"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, match):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=match) as error:
        load_tokenizer(str(path), 300)
    assert str(path) in str(error.value)
    with pytest.raises(TokenizerError, match="No such file"):
        load_tokenizer(str(tmp_path / "missing"), 300)
