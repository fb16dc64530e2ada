"""The tokenizer and the template travel with the weights, whatever the formats."""

import json

import numpy as np
import pytest

from server.checkpoints.gguf_vocabulary import read_gguf_vocabulary
from server.checkpoints.locate import WORLD_VOCABULARY, choose_tokenizer, locate
from server.tokenizer.load import load_tokenizer
from server.tokenizer.world import load_world_vocabulary
from tests.convert.converting import run
from tests.model.random_models import random_tensors, write_model
from tests.tokenizer.files import byte_level

TEXT = "User: the cat, über 中文 😀\n\n"
TEMPLATE = "{% for m in messages %}{{ m.content }} ü{% endfor %}"


def model(folder, vocab_size, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    # 64 channels and one layer: a vocabulary of 65,536 is quick as well.
    tensors = random_tensors(layers=1, dim=64, head_size=32, vocab_size=64)
    for name_of_large in ("emb.weight", "head.weight"):
        tensors[name_of_large] = np.ones((vocab_size, 64), np.float32)
    return write_model(folder / name, tensors, "bfloat16")


def tokenizer_of(path, vocab_size):
    files = locate(str(path))
    return load_tokenizer(choose_tokenizer(files, vocab_size), vocab_size, files.eos_token)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def vocabulary_file(path):
    """A World vocabulary of 300 tokens, which is not the published one."""
    tokens = [bytes((b,)) for b in range(256)] + [b"the", b" cat", b"\n\n", "ü".encode(), b"'\"\\"]
    path.write_text("".join(f"{i} {t!r} {len(t)}\n" for i, t in enumerate(tokens, 1)))


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["b.safetensors", "b.packed", "b.gguf", "folder"])
def test_a_tokenizer_json_and_a_template(tmp_path, target, name):
    source = model(tmp_path / "source", 320)
    byte_level(source.parent / "tokenizer.json")
    (source.parent / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    settings = {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}}
    (source.parent / "tokenizer_config.json").write_text(json.dumps(settings))
    lines = run(source, target / name)
    files = locate(str(target / name))
    assert files.chat_template == TEMPLATE
    assert (files.bos_token, files.eos_token) == ("<|endoftext|>", "<|endoftext|>")
    expected = tokenizer_of(source, 320)
    assert tokenizer_of(target / name, 320).encode(TEXT) == expected.encode(TEXT)
    if name != "folder":
        assert f"wrote {target / 'tokenizer.json'}" in lines
    if name == "b.gguf":
        assert any("goes beside" in line for line in lines)


@pytest.mark.parametrize("name", ["b.safetensors", "b.packed", "b.gguf", "folder"])
def test_another_world_vocabulary(tmp_path, target, name):
    source = model(tmp_path / "source", 320)
    vocabulary_file(source.parent / WORLD_VOCABULARY)
    run(source, target / name)
    found, expected = tokenizer_of(target / name, 320), tokenizer_of(source, 320)
    assert found.encode(TEXT) == expected.encode(TEXT)
    assert found.vocab_size == expected.vocab_size == 262
    if name == "b.gguf":
        assert names(target) == ["b.gguf"]
        back = tmp_path / "back"
        back.mkdir()
        run(target / "b.gguf", back / "c.safetensors")
        assert names(back) == ["c.safetensors", WORLD_VOCABULARY]
        assert tokenizer_of(back / "c.safetensors", 320).encode(TEXT) == expected.encode(TEXT)


def test_the_published_vocabulary_is_told_by_its_size(tmp_path, target):
    source = model(tmp_path / "source", 65_536)
    (source.parent / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    run(source, target / "b.gguf")
    assert names(target) == ["b.gguf"]
    found = read_gguf_vocabulary(target / "b.gguf")
    assert {i: token for i, token in enumerate(found) if token} == load_world_vocabulary()
    assert locate(str(target / "b.gguf")).chat_template == TEMPLATE
    run(target / "b.gguf", target / "c.safetensors")
    assert names(target) == ["b.gguf", "c.safetensors", "chat_template.jinja"]
    assert "chat_template" not in (target / "c.safetensors").read_bytes()[:2000].decode("latin-1")
    run(target / "b.gguf", target / "folder")
    files = names(target / "folder")
    assert files == ["chat_template.jinja", "config.json", "model.safetensors", WORLD_VOCABULARY]
    assert tokenizer_of(target / "folder", 65_536).token_bytes(33) == b" "


def test_bytes_need_no_file(tmp_path, target):
    source = model(tmp_path / "source", 256)
    run(source, target / "b.gguf")
    run(target / "b.gguf", target / "c.packed")
    assert names(target) == ["b.gguf", "c.packed"]
    assert tokenizer_of(target / "b.gguf", 256).encode("ab") == [97, 98]
    assert tokenizer_of(target / "c.packed", 256).encode("ab") == [97, 98]


def test_what_is_there_already_stays(tmp_path, target):
    source = model(tmp_path / "source", 320)
    byte_level(source.parent / "tokenizer.json")
    (target / "tokenizer.json").write_text("{}")
    lines = run(source, target / "b.safetensors")
    assert (target / "tokenizer.json").read_text() == "{}"
    assert f"kept {target / 'tokenizer.json'}, which is not that of this model" in lines
    lines = run(source, source.with_name("again.safetensors"))
    assert len(lines) == 1  # the same file is no news


def test_a_model_without_a_tokenizer_is_converted_all_the_same(tmp_path, target):
    source = model(tmp_path / "source", 320)
    lines = run(source, target / "b.gguf")
    assert "without a tokenizer: " in lines[1]
    assert "pass --tokenizer FILE" in lines[1]
    assert locate(str(target / "b.gguf")).tokenizer == ""
    byte_level(tmp_path / "mine.json")
    run(source, target / "c.packed", tokenizer=str(tmp_path / "mine.json"))
    assert names(target) == ["b.gguf", "c.packed", "tokenizer.json"]


def test_files_of_a_folder_are_copied(tmp_path, target):
    source = model(tmp_path / "source", 320)
    byte_level(source.parent / "tokenizer.json")
    run(source, target / "folder")
    for name in ("special_tokens_map.json", "generation_config.json", "tokenizer_config.json"):
        (target / "folder" / name).write_text('{"chat_template": "{{ 1 }}"}')
    run(target / "folder", target / "again", "float32")
    expected = {*names(target / "folder"), "chat_template.jinja"}
    assert set(names(target / "again")) == expected
    run(target / "folder", target / "b.safetensors")
    assert locate(str(target / "b.safetensors")).chat_template == "{{ 1 }}"


@pytest.mark.parametrize(
    "where", ["chat_template.jinja", "tokenizer_config.json", "tokenizer.json"]
)
@pytest.mark.parametrize("name", ["b.safetensors", "b.packed", "b.gguf"])
def test_what_lies_there_of_another_model_is_told(tmp_path, target, name, where):
    """A model without such a file would take it for its own, and nothing would say so."""
    source = model(tmp_path / "source", 256)
    if where == "tokenizer.json":
        byte_level(target / where)
    elif where == "tokenizer_config.json":
        (target / where).write_text(json.dumps({"chat_template": TEMPLATE}))
    else:
        (target / where).write_text(TEMPLATE, encoding="utf-8")
    lines = run(source, target / name)
    files = locate(str(target / name))
    is_inside = name == "b.gguf" and where == "tokenizer.json"
    assert is_inside or files.chat_template == TEMPLATE or files.tokenizer == str(target / where)
    told = [line for line in lines if line.startswith(f"{target / where} is of another model")]
    assert len(told) == (0 if is_inside else 1)
    # Next to its source it is the model's own.
    again = run(target / "b.safetensors", target / "c.st") if name == "b.safetensors" else []
    assert not any("another model" in line for line in again)
