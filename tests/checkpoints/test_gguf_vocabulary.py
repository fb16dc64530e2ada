"""Vocabularies and chat templates inside GGUF files."""

import ast
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_vocabulary import escape, read_gguf_vocabulary
from server.checkpoints.reader import open_checkpoint
from tests.checkpoints.gguf_files import RWKV7, STRING, U8, entry, gguf, vocabulary


def write(path, entries):
    path.write_bytes(gguf(entries))
    return path


def test_large_vocabulary_is_fast(tmp_path):
    tokens = [f"\\x{i % 256:02x}{i}" for i in range(65_536)]
    path = write(tmp_path / "m.gguf", vocabulary(tokens, [1] * 65_536))
    start = time.process_time()
    found = read_gguf_vocabulary(path)
    assert time.process_time() - start < 1  # 0.1 s on an idle core
    assert found[300] == b"\x2c300"
    assert len(found) == 65_536


TOKENS = [b"\0", b"\t\n\r", b"\\x41", b"'\"", "é中".encode(), bytes(range(256))]


def test_vocabulary(tmp_path):
    stored = [b"<s>", *(repr(token)[2:-1] for token in TOKENS), "é", "[PAD8]"]
    path = write(tmp_path / "m.gguf", vocabulary(stored, [3, *[1] * 7, 5]))
    assert read_gguf_vocabulary(path) == [b"", *TOKENS, "é".encode(), b""]
    path = write(tmp_path / "n.gguf", vocabulary(["<s>", "a"]))
    assert read_gguf_vocabulary(path) == [b"", b"a"]


@given(st.binary(max_size=20))
def test_escapes_are_those_of_python(token):
    inside = escape(token).replace('"', '\\"')
    assert ast.literal_eval(f'b"{inside}"') == token


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([RWKV7], r"no vocabulary; pass .* --tokenizer"),
        (vocabulary(["a"], kind="no_vocab"), "no vocabulary"),
        (vocabulary(["a"], kind="gpt2"), r"kind gpt2 is not read; pass .* --tokenizer"),
        (vocabulary(["a"], kind="llama"), r"kind llama is not read"),
        (vocabulary([]), "missing or not a list"),
        (vocabulary(["a"], [1, 1]), "does not fit"),
        ([*vocabulary(["a"]), entry("tokenizer.ggml.token_type", U8, 1)], "does not fit"),
        (vocabulary(["<s>", "\\"]), "damaged escape"),
        (vocabulary(["<s>", "\\x4"]), "damaged escape"),
        (vocabulary(["<s>", "\\xgg"]), "damaged escape"),
        ([RWKV7, entry("tokenizer.ggml.model", U8, 1)], "not a string"),
    ],
)
def test_vocabularies_that_are_not_read(tmp_path, entries, match):
    with pytest.raises(CheckpointError, match=match):
        read_gguf_vocabulary(write(tmp_path / "m.gguf", entries))


def test_chat_template(tmp_path):
    def metadata(template):
        entries = [RWKV7, entry("tokenizer.chat_template", STRING, template)]
        return open_checkpoint(write(tmp_path / "m.gguf", entries)).metadata

    assert metadata("{{ messages }}") == {"chat_template": "{{ messages }}"}
    assert metadata("{% if x %}{% endif %}") != {}
    assert metadata("rwkv-world") == {}  # the name of one that llama.cpp has inside
