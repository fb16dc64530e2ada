"""Tokenizers of the vocabularies inside GGUF files."""

import pytest

from server.checkpoints.gguf_vocabulary import escape
from server.checkpoints.locate import locate
from server.tokenizer.base import TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.load import load_tokenizer
from server.tokenizer.prompt_parts import encode_prompt
from tests.checkpoints.gguf_files import gguf, vocabulary

SINGLE_BYTES = [escape(bytes((byte,))) for byte in range(256)]


def write(path, *args, **options):
    path.write_bytes(gguf(vocabulary(*args, **options)))
    return str(path)


def test_world_vocabulary_in_a_gguf(tmp_path):
    world = load_tokenizer("world", 65_536)
    stored = ["<s>", *(repr(world.token_bytes(i))[2:-1] for i in range(1, 65_530))]
    types = [3] + [1] * 65_529
    # Whatever it is called.
    tokenizer = load_tokenizer(write(tmp_path / "any.name", stored, types), 65_536)
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (65_530, 0)
    text = "Hello world! \t'\"\\ 中文 é 😀\n\n"
    assert tokenizer.encode(text) == world.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_unused_and_special_ids_have_no_bytes(tmp_path):
    stored = ["<s>", *SINGLE_BYTES, "ab", "[PAD258]"]
    path = write(tmp_path / "m.gguf", stored, [3] + [1] * 257 + [5])
    tokenizer = load_tokenizer(path, 259)
    assert tokenizer.encode("cab<s>[PAD258]")[:2] == [100, 257]
    assert tokenizer.decode([0, 257, 258]) == "ab"
    assert tokenizer.vocab_size == 258


def test_control_tokens_are_those_of_its_template(tmp_path):
    stored = ["<s>", *SINGLE_BYTES, "<|im_end|>", "ab"]
    files = locate(write(tmp_path / "m.gguf", stored, [3] + [1] * 256 + [3, 1]))
    assert files.special_tokens == {"<s>": 0, "<|im_end|>": 257}
    tokenizer = load_tokenizer(files.tokenizer, 259, "", files.special_tokens)
    text = ChatTemplate("<s>{{ messages[0].content }}<|im_end|>").render([{"content": "<s>ab"}])
    assert encode_prompt(text, tokenizer).ids == [0, *tokenizer.encode("<s>ab"), 257]
    assert tokenizer.encode("<|im_end|>") == [1 + byte for byte in b"<|im_end|>"]


def test_bytes_in_a_gguf(tmp_path):
    path = write(tmp_path / "m.gguf", SINGLE_BYTES, [1] * 256)
    assert isinstance(load_tokenizer(path, 256), ByteTokenizer)
    with pytest.raises(TokenizerError, match=r"m\.gguf: wants all single bytes"):
        load_tokenizer(write(tmp_path / "m.gguf", SINGLE_BYTES), 256)  # id 0 is special then


@pytest.mark.parametrize(
    ("tokens", "types", "kind", "size", "match"),
    [
        (["<s>", "a"], [3, 1], "rwkv", 10, "wants all single bytes"),
        (["<s>"], [3], "rwkv", 10, "wants all single bytes"),
        (["<s>", *SINGLE_BYTES], [3] + [1] * 256, "rwkv", 256, "has only 256"),
        (["a"], [1], "gpt2", 10, "--tokenizer"),
        (["a"], [1, 1], "rwkv", 10, "does not fit"),
    ],
)
def test_vocabularies_that_cannot_be_used(tmp_path, tokens, types, kind, size, match):
    with pytest.raises(TokenizerError, match=match):
        load_tokenizer(write(tmp_path / "m.gguf", tokens, types, kind), size)
