"""From a path to the files of a model."""

import json

import pytest

from server.checkpoints import locate as locate_module
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import ModelFiles, choose_tokenizer, locate
from tests.checkpoints.gguf_files import RWKV7, STRING, entry, gguf, vocabulary


def test_file_and_folder(tmp_path):
    checkpoint = tmp_path / "rwkv7-g1-0.1b.pth"
    checkpoint.write_bytes(b"")
    assert locate(str(checkpoint)) == ModelFiles(
        "rwkv7-g1-0.1b", checkpoint, names=("rwkv7-g1-0.1b",)
    )
    folder = tmp_path.name
    assert locate(str(tmp_path)) == ModelFiles(folder, checkpoint, names=(folder,))
    assert locate(str(tmp_path), "world").tokenizer == "world"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert locate(str(tmp_path)).tokenizer == str(tmp_path / "tokenizer.json")
    assert locate(str(tmp_path), "bytes").tokenizer == "bytes"


def test_folder_of_none_or_several(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        locate(str(tmp_path / "missing"))
    with pytest.raises(CheckpointError, match="no checkpoint in it"):
        locate(str(tmp_path))
    for name in ("b.st", "a.pth", "readme.md"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"name one: a\.pth, b\.st"):
        locate(str(tmp_path))


def test_other_files_called_bin_are_no_checkpoints(tmp_path):
    (tmp_path / "training_args.bin").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint in it"):
        locate(str(tmp_path))
    assert locate(str(tmp_path / "training_args.bin")).name == "training_args"


def test_gguf_brings_its_tokenizer_and_template(tmp_path):
    path = tmp_path / "m.gguf"
    template = entry("tokenizer.chat_template", STRING, "{{ inside }}")
    path.write_bytes(gguf([*vocabulary(["<s>", "a"]), template]))
    files = locate(str(tmp_path))
    assert files == ModelFiles(
        tmp_path.name, path, str(path), "{{ inside }}", names=(tmp_path.name,)
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    assert locate(str(path)).tokenizer == str(path)
    assert locate(str(path), "world").tokenizer == "world"
    (tmp_path / "chat_template.jinja").write_text("{{ beside }}")
    assert locate(str(path)).chat_template == "{{ beside }}"


def test_gguf_without_a_vocabulary_that_is_read(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf([RWKV7]))
    assert locate(str(path)).tokenizer == ""
    path.write_bytes(gguf(vocabulary(["a"], kind="gpt2")))
    assert locate(str(path)).tokenizer == str(path)  # whose error says what to do
    (tmp_path / "tokenizer.json").write_text("{}")
    assert locate(str(path)).tokenizer == str(tmp_path / "tokenizer.json")
    path.write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="truncated"):
        locate(str(path))


def test_embedded(tmp_path, monkeypatch):
    monkeypatch.setattr(locate_module, "EMBEDDED", tmp_path / "embedded")
    with pytest.raises(CheckpointError, match="not in this installation"):
        locate("")
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "model.safetensors").write_bytes(b"")
    assert locate("").name == "rwkv-embedded"


def test_chat_template(tmp_path):
    (tmp_path / "m.st").write_bytes(b"")
    config = {"chat_template": "one", "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    files = locate(str(tmp_path))
    assert (files.chat_template, files.bos_token, files.eos_token) == ("one", "<s>", "</s>")
    several = [{"name": "tool", "template": "x"}, {"name": "default", "template": "two"}, 3]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert locate(str(tmp_path)).chat_template == "two"
    (tmp_path / "chat_template.jinja").write_text("three")
    assert locate(str(tmp_path)).chat_template == "three"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_broken_tokenizer_config(tmp_path, content):
    (tmp_path / "m.st").write_bytes(b"")
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="tokenizer_config"):
        locate(str(tmp_path))


def test_choose_tokenizer(tmp_path):
    files = ModelFiles("m", tmp_path / "m.st")
    assert choose_tokenizer(files, 256) == "bytes"
    assert choose_tokenizer(files, 65_536) == "world"
    assert choose_tokenizer(files, 65_530) == "world"
    with pytest.raises(CheckpointError, match="--tokenizer"):
        choose_tokenizer(files, 50_000)
    with pytest.raises(CheckpointError, match=r"50277 tokens \(Pile, Raven\) needs 20B_tokenizer"):
        choose_tokenizer(files, 50_277)
    (tmp_path / "20B_tokenizer.json").write_text("{}")
    for size in (50_277, 50_288, 50_304):  # RWKV-7 of the Pile is padded
        assert choose_tokenizer(files, size) == str(tmp_path / "20B_tokenizer.json")
    with pytest.raises(CheckpointError, match="50305 does not tell the tokenizer"):
        choose_tokenizer(files, 50_305)
    assert choose_tokenizer(ModelFiles("m", tmp_path, "x.json"), 256) == "x.json"
