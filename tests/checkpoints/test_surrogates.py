"""Half a surrogate pair in the files of a model is an error that names the file and the field."""

import json

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.json_file import read_json_object
from server.checkpoints.locate import locate
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.tokenizer.base import TokenizerError
from server.tokenizer.load import load_tokenizer
from server.tokenizer.world import parse_vocabulary
from tests.checkpoints.torch_files import dumps, ordered, tensor, write_archive

HALF = "\ud800"


def refused(call, *words):
    with pytest.raises((CheckpointError, TokenizerError)) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    message.encode()
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"bos_token": HALF}, "bos_token"),
        ({"eos_token": {"content": f"a{HALF}"}}, "eos_token.content"),
        ({"chat_template": f"{{{{ messages }}}}{HALF}"}, "chat_template"),
        ({"chat_template": [{"name": "default", "template": HALF}]}, "chat_template.0.template"),
        ({"chat_template": [{"name": "\udfff", "template": "x"}]}, "chat_template.0.name"),
        ({"added_tokens_decoder": {"0": {"content": HALF}}}, "added_tokens_decoder.0.content"),
        ({f"x{HALF}": 1}, "x"),
        ({"a": [[[{"b": "\udc80"}]]]}, "a.0.0.0.b"),
    ],
)
def test_tokenizer_config(tmp_path, config, field):
    write_safetensors(tmp_path / "m.safetensors", {"a": ("float32", np.zeros(1, np.float32))})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    refused(lambda: locate(str(tmp_path)), "tokenizer_config.json", field, "surrogate")


@pytest.mark.parametrize("escaped", [r"\ud83d\ude00", r"\uD83D\uDE00", "😀", r"\\ud800", r"\u00e9"])
def test_whole_characters_are_read(tmp_path, escaped):
    path = tmp_path / "tokenizer_config.json"
    path.write_text(f'{{"bos_token": "{escaped}"}}')
    assert read_json_object(path)["bos_token"] in ("😀", r"\ud800", "é")


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "x.index.json"])
def test_other_files(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"model_type": HALF}))
    refused(lambda: read_json_object(tmp_path / name), name, "model_type")


def test_large_files_are_looked_through_in_little_memory(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [0] * 1_000_000, "b": [HALF]}))
    refused(lambda: read_json_object(tmp_path / "a.json"), "b.0")


@pytest.mark.parametrize("header", [
    {HALF: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
    {"__metadata__": {"k": HALF}},
    {"__metadata__": {HALF: "v"}},
    {"a": {"dtype": HALF, "shape": [0], "data_offsets": [0, 0]}},
])  # fmt: skip
def test_safetensors(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    refused(lambda: open_checkpoint(path), "m.safetensors", "Unicode")


def test_pth(tmp_path):
    data = dumps(ordered([("a?b", tensor("float32", "0", (1,)))])).replace(b"a?b", b"\xed\xa0\x80")
    path = write_archive(tmp_path / "m.pth", data, {"0": bytes(4)})
    refused(lambda: open_checkpoint(path), "m.pth", "Unicode")


@pytest.mark.parametrize("field", ["content", "vocab", "merges"])
def test_tokenizer_json(tmp_path, field):
    tokens = {chr(33 + number): number for number in range(94)}
    added = [{"id": 94, "content": "<x>", "special": True, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False}]  # fmt: skip
    found = {"version": "1.0", "added_tokens": added, "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "vocab": tokens, "merges": []}}  # fmt: skip
    if field == "content":
        added[0]["content"] = HALF
    elif field == "vocab":
        tokens[HALF] = 95
    else:
        found["model"]["merges"] = [[HALF, "a"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(found))
    refused(lambda: load_tokenizer(str(path), 1000), "tokenizer.json")


def test_a_world_vocabulary():
    refused(lambda: parse_vocabulary(r"1 '\ud800' 3" + "\n"), "line 1")
