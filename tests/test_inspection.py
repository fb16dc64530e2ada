"""What inspect shows of models of every format."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from server.checkpoints import finite_values
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import locate
from server.convert.convert import Request, convert
from server.inspection import look_at
from tests.model.random_models import random_tensors, write_model
from tests.tokenizer.files import byte_level


def table_of(path):
    """Label → text, without the lines around."""
    out = StringIO()
    Console(file=out, width=400).print(look_at(locate(str(path))).to_table())
    cells = (line.split("│")[1:3] for line in out.getvalue().splitlines() if "│" in line)
    return {label.strip(): text.strip() for label, text in cells}


@pytest.fixture
def model(tmp_path):
    tensors = random_tensors(layers=2, dim=64, head_size=32, vocab_size=256)
    return write_model(tmp_path / "a.safetensors", tensors)


@pytest.mark.parametrize(
    ("name", "dtype", "format", "stored"),
    [
        ("b.st", "float16", "safetensors", "float16 %, float32 %"),
        ("b.gguf", "q8_0", "GGUF", "q8_0 %, float16 %, float32 %"),
        ("folder", "bfloat16", "Hugging Face folder", "bfloat16 %, float32 %"),
        ("b.packed", "int4", "packed", "int4, packed for the kernels"),
    ],
)
def test_every_format(model, tmp_path, name, dtype, format, stored):
    convert(Request(str(model), tmp_path / name, dtype), 1, lambda *_: None)
    shown = table_of(tmp_path / name)
    assert shown["format"] == format
    found = {w for w in shown["stored as"].replace(",", "").split() if not w.endswith("%")}
    assert found == {w for w in stored.replace(",", "").split() if w != "%"}
    assert shown["tokenizer"] == ("inside the file" if name == "b.gguf" else "bytes")
    assert "group norm" not in shown
    assert "initial state" not in shown
    found = look_at(locate(str(tmp_path / name))).to_json()
    assert found["packed_as"] == ("int4" if name == "b.packed" else "")
    assert sum(found["stored_bytes"].values()) > 10_000


@pytest.mark.parametrize("name", ["b.safetensors", "b.packed"])
def test_a_deep_embedding_is_named(tmp_path, name):
    tensors = random_tensors(layers=2, dim=64, head_size=32, vocab_size=256, generation="rwkv7a")
    model = write_model(tmp_path / "a.safetensors", tensors)
    convert(Request(str(model), tmp_path / name), 1, lambda *_: None)
    shown = table_of(tmp_path / name)
    assert shown["architecture"] == "RWKV-7a"
    assert shown["dimension"] == "64 (2 × head of 32)"
    assert shown["parameters"] == f"{sum(t.size for t in tensors.values()):,}"
    assert look_at(locate(str(tmp_path / name))).to_json()["generation"] == "rwkv7a"


@pytest.mark.parametrize(
    ("model", "dtypes", "epsilon"),
    [
        ("4v0-660K-FP16", "float16 98%, float32 2%", None),
        ("5v2-730K-FP32", "float32", "epsilon 1e-05"),
        ("6v0-3m-Q5_1", "q5_1 63%, float32 37%", None),
    ],
)
def test_fixtures(fixtures_dir, model, dtypes, epsilon):
    shown = table_of(fixtures_dir / "tiny-rwkv" / f"tiny-rwkv-{model}.bin")
    assert shown["format"] == "rwkv.cpp"
    assert shown["stored as"] == dtypes
    assert shown.get("group norm") == epsilon


def test_the_tokenizer_of_a_packed_model_is_missed(tmp_path):
    tensors = random_tensors(layers=1, dim=64, head_size=32, vocab_size=320)
    source = write_model(tmp_path / "b.st", tensors)
    byte_level(tmp_path / "tokenizer.json")
    (tmp_path / "there").mkdir()
    packed = tmp_path / "there" / "b.packed"
    convert(Request(str(source), packed, "float32"), 1, lambda *_: None)
    assert table_of(packed)["tokenizer"] == str(packed.with_name("tokenizer.json"))
    packed.with_name("tokenizer.json").unlink()
    shown = "unknown: pass --tokenizer FILE (it was packed with tokenizer.json)"
    assert table_of(packed)["tokenizer"] == shown


def test_a_tuned_state_is_shown(tmp_path):
    states = {f"blocks.{i}.att.time_state": np.ones((3, 20, 20), np.float32) for i in (0, 1)}
    path = write_model(tmp_path / "a.st", random_tensors(layers=2) | states)
    assert table_of(path)["initial state"] == "tuned, in the checkpoint"
    assert look_at(locate(str(path))).to_json()["initial_state"] is True


def test_what_is_no_model_by_itself(tmp_path):
    state = {"blocks.0.att.time_state": np.ones((3, 20, 20), np.float32)}
    adapter = {"blocks.0.att.key.lora_A": np.ones((4, 60), np.float32)}
    for tensors, what in ((state, "a tuned initial state, not"), (adapter, "an adapter, not a")):
        path = write_model(tmp_path / "x.st", tensors)
        with pytest.raises(CheckpointError, match=what):
            look_at(locate(str(path)))


def test_values_that_are_not_finite_are_told(tmp_path, monkeypatch):
    tensors = random_tensors(layers=2, dim=64, head_size=32, vocab_size=256)
    tensors["blocks.1.ffn.key.weight"][3, :5] = np.nan
    tensors["emb.weight"][7, 7] = np.inf
    path = write_model(tmp_path / "m.st", tensors)
    found = look_at(locate(str(path)))
    assert found.to_json()["not_finite"] == {"blocks.1.ffn.key.weight": 5, "emb.weight": 1}
    assert found.to_json()["values_checked"] == 1
    shown = table_of(path)["values"]
    assert [shown] == found.warnings
    assert shown.startswith("6 values in 2 tensors are not finite")
    assert "emb.weight (1)" in shown
    good = write_model(tmp_path / "good.st", random_tensors(layers=2, dim=64, head_size=32))
    assert table_of(good)["values"] == "all finite"
    monkeypatch.setattr(finite_values, "_PIECE_BYTES", 1000)
    part = look_at(locate(str(good)), max_bytes=100_000)
    assert 0 < part.values.checked < 1
    assert not part.warnings


@pytest.mark.parametrize(
    ("name", "can"),
    [
        ("RWKV-x070-World-0.1B", "complete text, chat, tools"),
        ("rwkv7-g1-0.1b-20250307-ctx4096", "complete text, chat, tools, reasoning"),
        (
            "rwkv7-g1k-0.1b-20260930-ctx25600",
            "complete text, chat, tools, reasoning, fill in the middle",
        ),
    ],
)
def test_what_it_can_do_is_told_by_its_name(model, name, can):
    path = model.rename(model.with_name(f"{name}.safetensors"))
    assert table_of(path)["can"] == can
    assert look_at(locate(str(path))).to_json()["abilities"] == can.split(", ")[1:]


def test_a_template_of_its_own_tells_too(model, tmp_path):
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}<think>{{ tools }}"
    )
    assert look_at(locate(str(model))).abilities == ("chat", "reasoning")
    (tmp_path / "chat_template.jinja").write_text("{% broken")
    assert look_at(locate(str(model))).abilities == ()


TOKENIZERS = {
    "{}": "tokenizer.json: not a usable tokenizer",
    "<html>": "tokenizer.json: not a usable tokenizer",
    "large": "its ids reach 300, but the model's vocabulary has only 256",
}


@pytest.mark.parametrize("content", TOKENIZERS)
def test_a_tokenizer_that_does_not_belong_to_it(model, content):
    path = model.parent / "tokenizer.json"
    if content == "large":
        byte_level(path)
    else:
        path.write_text(content)
    found = look_at(locate(str(model)))
    (line,) = found.warnings
    assert TOKENIZERS[content] in line
    assert line.endswith("; so the model does not load")
    assert found.to_json()["problems"] == list(found.problems)


@pytest.mark.parametrize("source", ["{% for m in %}", "{{ x", "{% nothing %}"])
def test_a_chat_template_that_does_not_compile(model, source):
    (model.parent / "chat_template.jinja").write_text(source)
    found = look_at(locate(str(model)))
    (line,) = found.warnings
    assert line.startswith(f"{model}: chat template, line 1: ")
    assert found.abilities == ()
