"""Folders as trainers and people leave them: which file is the model is told by what is in it."""

import itertools

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.folders import MAX_OPENED, SUFFIXES, TRAINER_SUFFIXES
from server.checkpoints.hub import HubModel
from server.checkpoints.locate import bytes_on_disk, locate
from server.checkpoints.reader import open_checkpoint
from server.local_models.found import models_in_folder
from server.model.config import read_config
from server.pull.choice import choose_weights
from tests.checkpoints.huggingface_exports import fla7, official_tensors, write_folder, write_json
from tests.checkpoints.official_models import GENERATIONS, random_model
from tests.checkpoints.torch_files import dumps, ordered, tensor, write_archive, write_pth


def stored(arrays):
    return {name: ("float32", values) for name, values in arrays.items()}


def lightning(path, arrays):
    """A dictionary with the model as one of its entries."""
    names = {f"_forward_module.{name}": values for name, values in arrays.items()}
    items = [
        (name, tensor("float32", str(key), values.shape))
        for key, (name, values) in enumerate(names.items())
    ]
    records = {str(key): values.tobytes() for key, values in enumerate(names.values())}
    pickled = {"epoch": 1, "state_dict": ordered(items), "optimizer_states": []}
    return write_archive(path, dumps(pickled), records)


def beside_it(folder):
    """What trainers leave next to a model."""
    write_archive(folder / "training_args.bin", dumps({"lr": 1e-4}))
    write_pth(folder / "optimizer.pt", stored({"exp_avg": np.ones(3, np.float32)}))
    write_archive(folder / "scheduler.pt", dumps({"last_epoch": 3}))
    (folder / "rng_state.pt").write_bytes(b"\x80\x04N.")
    (folder / "empty.ckpt").write_bytes(b"")


# A .pth of RWKV-5.1 whose bonus has the name of another revision is refused for that.
@pytest.mark.parametrize("generation", [g for g in GENERATIONS if g != "5.1"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((f"rwkv-final{suffix}", write_pth) for suffix in (*TRAINER_SUFFIXES, ".bin")),
        *(
            (f"epoch=1-step=100{suffix}", lightning)
            for suffix in (*TRAINER_SUFFIXES, ".pth", ".bin")
        ),
    ],
)
def test_the_one_model_of_a_folder_is_found(tmp_path, name, write, generation):
    arrays = random_model(generation)
    expected = write(tmp_path / name, stored(arrays) if write is write_pth else arrays)
    beside_it(tmp_path)
    files = locate(str(tmp_path))
    assert files.checkpoint == expected
    assert read_config(open_checkpoint(files.checkpoint)).generation == f"rwkv{generation}"
    assert bytes_on_disk(files.checkpoint) == expected.stat().st_size


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.combinations((".ckpt", ".pt", ".bin", ".pth"), 2)]
)
def test_two_models_have_to_be_told_apart(tmp_path, first, second):
    beside_it(tmp_path)
    for name in (f"one{first}", f"two{second}"):
        write_pth(tmp_path / name, stored(random_model("7")))
    with pytest.raises(CheckpointError, match=rf"2 checkpoints in it, name one: one\{first}, two"):
        locate(str(tmp_path))


def test_a_folder_without_a_model_says_why(tmp_path):
    """Of the largest file, which is the likeliest to be meant."""
    beside_it(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in it .*optimizer\.pt holds no model"
    ):
        locate(str(tmp_path))
    arrays = random_model("5.2")
    arrays["blocks.0.att.time_first"] = arrays.pop("blocks.0.att.time_faaaa")
    write_pth(tmp_path / "damaged.ckpt", stored(arrays))
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in it .*damaged\.ckpt: tensor blocks"
    ):
        locate(str(tmp_path))
    (tmp_path / "zero_to_fp32.py").write_text("")
    with pytest.raises(CheckpointError, match=r"DeepSpeed: run its zero_to_fp32\.py"):
        locate(str(tmp_path))


def test_a_data_set_is_not_looked_through(tmp_path, monkeypatch):
    opened = []

    def open_checkpoint(path):
        opened.append(path.name)
        raise CheckpointError(f"{path}: no")

    monkeypatch.setattr("server.checkpoints.folders.open_checkpoint", open_checkpoint)
    for number in range(MAX_OPENED + 20):
        (tmp_path / f"{number:04}.pt").write_bytes(bytes(number))
    with pytest.raises(CheckpointError, match=f"no checkpoint in it .*{MAX_OPENED + 19:04}.pt: no"):
        locate(str(tmp_path))
    assert sorted(opened) == [f"{number:04}.pt" for number in range(20, MAX_OPENED + 20)]


def test_a_torch_file_of_an_export_without_its_config(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    write_pth(path, stored(fla7(official_tensors("v7"))))
    assert locate(str(tmp_path)).checkpoint == path
    assert read_config(open_checkpoint(path)).generation == "rwkv7"


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("has_config", [True, False])
def test_shards_without_their_index(tmp_path, suffix, has_config):
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    folder = write_folder(tmp_path / "m", fla7(official_tensors("v7")), shards=2)
    (folder / "model.safetensors.index.json").rename(tmp_path / "index")
    for path in folder.glob("model-*"):
        path.rename(folder / path.name.replace("model", stem).replace(".safetensors", suffix))
    if not has_config:
        (folder / "config.json").unlink()
    index = f"{stem}{suffix}.index.json"
    with pytest.raises(CheckpointError, match=rf"parts .* of a model; {index} is missing"):
        locate(str(folder))
    shard = folder / f"{stem}-00001-of-00002{suffix}"
    with pytest.raises(CheckpointError, match=rf"one of several parts of a model; {index} is miss"):
        locate(str(shard))
    write_json(folder / index, {"weight_map": {}})
    with pytest.raises(CheckpointError, match="one of several parts of a model; name the folder, "):
        locate(str(shard))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
def test_parts_of_something_else_next_to_a_model(tmp_path, suffix):
    path = write_pth(tmp_path / "rwkv.pth", stored(random_model("7")))
    for number in (1, 2):
        (tmp_path / f"train-0000{number}-of-00002{suffix}").write_bytes(b"x")
    assert locate(str(tmp_path)).checkpoint == path


def test_one_of_one_is_whole(tmp_path):
    arrays = random_model("7")
    path = write_pth(tmp_path / "model-00001-of-00001.ckpt", stored(arrays))
    assert locate(str(tmp_path)).checkpoint == locate(str(path)).checkpoint == path


def test_parts_of_a_gguf(tmp_path):
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="llama-gguf-split --merge"):
        locate(str(tmp_path))


def test_the_size_of_a_folder_is_that_of_its_weights(tmp_path):
    for shards in (1, 3):
        folder = write_folder(tmp_path / f"{shards}", fla7(official_tensors("v7")), shards=shards)
        beside_it(folder)
        (folder / "consolidated.safetensors").write_bytes(bytes(999))
        expected = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
        assert bytes_on_disk(folder) == expected


def test_they_are_listed(tmp_path):
    for suffix in SUFFIXES:
        write_pth(tmp_path / f"m{suffix}", stored(random_model("7")))
    (tmp_path / "run").mkdir()
    beside_it(tmp_path / "run")
    lightning(tmp_path / "run" / "last.ckpt", random_model("6"))
    found = {model.name: model for model in models_in_folder(tmp_path)}
    assert set(found) == {str(tmp_path / name) for name in ("run", *(f"m{s}" for s in SUFFIXES))}
    assert not any(model.error for model in found.values())


@pytest.mark.parametrize("suffix", TRAINER_SUFFIXES)
def test_of_a_repository(suffix):
    model = HubModel("a/b")
    assert choose_weights(model, [f"rwkv{suffix}", "README.md"]) == f"rwkv{suffix}"
    assert choose_weights(model, [f"optimizer{suffix}", "rwkv.pth"]) == "rwkv.pth"
    with pytest.raises(CheckpointError, match="2 checkpoints"):
        choose_weights(model, [f"a{suffix}", f"b{suffix}"])
