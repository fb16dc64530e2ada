"""What belongs to a model stays in its folder, and folders are looked through within bounds."""

import json
import os

import pytest

from server.checkpoints import model_files
from server.checkpoints.adapters import apply_adapter
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import PILE_TOKENIZER, choose_tokenizer, locate
from server.checkpoints.model_files import entries_of, file_of
from server.checkpoints.reader import open_checkpoint
from server.model.initialize import design, initialize
from server.tokenizer.load import load_tokenizer
from tests.model.random_models import write_model

SECRET = "{{ 'the private key of somebody' }}"
COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    write_model(folder / "m.safetensors", dict(initialize(design("rwkv7", 1, 16, 256, 16), 0)))
    (tmp_path / "secret").write_text(SECRET)
    return folder


def read_all(path, vocab_size=256):
    """All that is read of a model before its weights."""
    files = locate(str(path))
    open_checkpoint(files.checkpoint)
    return load_tokenizer(choose_tokenizer(files, vocab_size), vocab_size, files.eos_token)


def outside(model):
    """Names for a link that leads from the folder to a file outside."""
    secret = model.parents[1] / "secret"
    (model / "sub").mkdir()
    (model / "sub" / "hop").symlink_to(secret)
    (model / "up").symlink_to(model.parent.parent)
    yield str(secret)
    yield "../../secret"
    yield "sub/hop"
    yield "up/secret"
    yield "../tiny/../../secret"
    yield "../../nowhere"  # what is not there yet


@pytest.mark.parametrize("name", [*COMPANIONS[:3], PILE_TOKENIZER])
@pytest.mark.parametrize("as_folder", [True, False])
def test_links_out_of_the_folder_are_refused(name, as_folder, model):
    path = model if as_folder else model / "m.safetensors"
    for target in outside(model):
        (model / name).symlink_to(target)
        with pytest.raises(CheckpointError, match=f"{name}: a link that leads out") as caught:
            read_all(path, 50_277 if name == PILE_TOKENIZER else 256)
        assert "private key" not in str(caught.value)
        (model / name).unlink()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_links_of_a_hugging_face_folder_out_of_it_are_refused(name, model):
    (model / "m.safetensors").rename(model / "model.safetensors")
    (model / "config.json").write_text("{}")
    read_all(model)
    (model / name).rename(model.parent / name)
    (model / name).symlink_to(model.parent / name)
    with pytest.raises(CheckpointError, match=f"{name}: a link that leads out"):
        read_all(model)


def test_the_only_checkpoint_of_a_folder_and_shards_may_not_lead_out_of_it(model):
    (model / "m.safetensors").rename(model.parent / "m.safetensors")
    (model / "m.safetensors").symlink_to("../m.safetensors")
    with pytest.raises(CheckpointError, match="a link that leads out"):
        locate(str(model))
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"emb.weight": "m.safetensors"}})
    )
    with pytest.raises(CheckpointError, match=r"m\.safetensors: a link that leads out"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_links_of_an_adapter_out_of_its_folder_are_refused(name, model, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"lora_alpha": 1}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    (adapter / name).unlink()
    (adapter / name).symlink_to("../secret")
    with pytest.raises(CheckpointError, match=f"{name}: a link that leads out"):
        apply_adapter(open_checkpoint(model / "m.safetensors"), adapter, None)


def test_links_within_a_folder_are_fine(model):
    (model / "sub").mkdir()
    (model / "sub" / "template").write_text("{{ x }}")
    (model / "chat_template.jinja").symlink_to("sub/template")
    assert locate(str(model)).chat_template == "{{ x }}"


def test_what_is_named_may_be_a_link(model, tmp_path):
    (model / "chat_template.jinja").write_text("{{ x }}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "folder").symlink_to(model)
    (elsewhere / "m.safetensors").symlink_to(model / "m.safetensors")
    assert locate(str(elsewhere / "folder")).chat_template == "{{ x }}"
    assert locate(str(elsewhere / "m.safetensors")).chat_template is None
    # A link next to it may lead to what lies next to the model itself, and nowhere else.
    (elsewhere / "chat_template.jinja").symlink_to(model / "chat_template.jinja")
    assert locate(str(elsewhere / "m.safetensors")).chat_template == "{{ x }}"
    (elsewhere / "chat_template.jinja").unlink()
    (elsewhere / "chat_template.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="a link that leads out"):
        locate(str(elsewhere / "m.safetensors"))


def test_only_the_blobs_of_the_same_repository_belong_to_a_snapshot(tmp_path):
    hub = tmp_path / "hub"
    snapshot = hub / "models--me--tiny" / "snapshots" / ("0" * 40) / "sub"
    snapshot.mkdir(parents=True)
    for place in ("models--me--tiny/blobs", "models--me--other/blobs", "models--me--tiny/refs"):
        (hub / place).mkdir(parents=True)
        (hub / place / "b").write_text("{{ x }}")
        (snapshot / "chat_template.jinja").unlink(missing_ok=True)
        (snapshot / "chat_template.jinja").symlink_to(hub / place / "b")
        if place == "models--me--tiny/blobs":
            assert file_of(snapshot, "chat_template.jinja")
            continue
        with pytest.raises(CheckpointError, match="a link that leads out"):
            file_of(snapshot, "chat_template.jinja")
    (hub / "models--me--tiny" / "blobs" / "b").unlink()
    (hub / "models--me--tiny" / "blobs").rmdir()
    (hub / "models--me--tiny" / "blobs").symlink_to(hub / "models--me--other" / "blobs")
    (snapshot / "chat_template.jinja").unlink()
    (snapshot / "chat_template.jinja").symlink_to(hub / "models--me--tiny" / "blobs" / "b")
    with pytest.raises(CheckpointError, match="a link that leads out"):
        file_of(snapshot, "chat_template.jinja")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", COMPANIONS[:3])
@pytest.mark.parametrize("kind", ["pipe", "folder", "sparse", "loop"])
def test_companions_that_are_no_files(name, kind, model):
    path = model / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(name)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    if kind == "loop" and name == "tokenizer.json":
        read_all(model)  # it is not there
        return
    with pytest.raises(ValueError, match=name) as caught:
        read_all(model)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe"])
def test_a_model_that_is_no_file(path, tmp_path):
    if path == "pipe":
        os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        locate(str(tmp_path / path))
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(tmp_path / path)


def test_folders_have_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(model_files, "MAX_FILES", 5)
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    assert [path.name for path in entries_of(tmp_path)] == [f"{n}.txt" for n in range(5)]
    (tmp_path / "m.pth").touch()
    with pytest.raises(CheckpointError, match="more than 5 files"):
        locate(str(tmp_path))
    with pytest.raises(CheckpointError, match="No such file"):
        entries_of(tmp_path / "missing")
