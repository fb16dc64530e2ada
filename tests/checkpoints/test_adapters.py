"""Adapters merged at load are the merged model."""

import json
from pathlib import Path

import numpy as np
import pytest

from server.checkpoints import adapters
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model_names import split_adapter
from tests.checkpoints.torch_files import write_pth
from tests.model.random_models import random_tensors, write_model

KEY, VALUE = "blocks.1.att.key.weight", "blocks.0.ffn.value.weight"
RANK = 4
rng = np.random.default_rng(0)


def apply_adapter(checkpoint, text):
    """As FILE or FILE:ALPHA."""
    file, alpha = split_adapter(text)
    return adapters.apply_adapter(checkpoint, Path(file), alpha)


def normal(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(layers=2, dim=64, head_size=32, vocab_size=50)


@pytest.fixture(scope="module")
def base(tensors, tmp_path_factory):
    return open_checkpoint(write_model(tmp_path_factory.mktemp("base") / "base.st", tensors))


def write(path, tensors):
    write_safetensors(path, {name: ("float32", values) for name, values in tensors.items()})
    return path


def lora_of(tensors, *names):
    parts = {}
    for name in names:
        rows, columns = tensors[name].shape
        stem = name.removesuffix(".weight")
        parts |= {f"{stem}.lora_A": normal(RANK, columns), f"{stem}.lora_B": normal(rows, RANK)}
    return parts


def merged_lora(tensors, parts, name, scale):
    stem = name.removesuffix(".weight")
    a, b = (parts[f"{stem}.lora_{side}"].astype(np.float64) for side in "AB")
    return tensors[name] + scale * (b @ a)


def assert_pieces_are_the_whole(tensor):
    """Pieces of whatever size have the same bits."""
    whole = tensor.to_float32()
    for size in (1, 7, 16, 48):
        rows = range(0, len(whole), size)
        pieces = [tensor.to_float32(slice(first, first + size)) for first in rows]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


def test_lora(tmp_path, tensors, base):
    parts = lora_of(tensors, KEY, VALUE)
    merged = apply_adapter(base, f"{write(tmp_path / 'lora.st', parts)}:8")
    for name in (KEY, VALUE):
        expected = merged_lora(tensors, parts, name, 8 / RANK)
        np.testing.assert_allclose(merged.tensors[name].to_float32(), expected, atol=1e-5)
        assert_pieces_are_the_whole(merged.tensors[name])
    other = "blocks.0.att.key.weight"
    assert merged.tensors[other] is base.tensors[other]
    assert base.changes == ""
    assert (
        len({base.changes, merged.changes, apply_adapter(base, f"{tmp_path}/lora.st:9").changes})
        == 3
    )


def test_lora_in_a_pth_with_tensors_that_replace_the_models(tmp_path, tensors, base):
    parts = lora_of(tensors, KEY) | {"blocks.0.ln1.weight": normal(64), KEY: normal(64, 64)}
    path = write_pth(tmp_path / "lora.pth", {n: ("float32", values) for n, values in parts.items()})
    merged = apply_adapter(base, f"{path}:4")
    found = merged.tensors["blocks.0.ln1.weight"].to_float32()
    np.testing.assert_array_equal(found, parts["blocks.0.ln1.weight"])
    expected = merged_lora(parts, parts, KEY, 1)
    np.testing.assert_allclose(merged.tensors[KEY].to_float32(), expected, atol=1e-5)


def test_adapters_add_up(tmp_path, tensors, base):
    first, second = lora_of(tensors, KEY), lora_of(tensors, KEY)
    both = apply_adapter(base, f"{write(tmp_path / 'first.st', first)}:4")
    both = apply_adapter(both, f"{write(tmp_path / 'second.st', second)}:8")
    expected = merged_lora(tensors, first, KEY, 1) + merged_lora(tensors, second, KEY, 2)
    expected -= tensors[KEY]
    np.testing.assert_allclose(both.tensors[KEY].to_float32(), expected, atol=1e-5)


def test_bone_repeats_its_block(tmp_path, tensors, base):
    for name, rank in ((KEY, 16), (VALUE, 24)):
        rows, columns = tensors[name].shape
        disha = normal(rank, rows)
        path = write(tmp_path / "bone.st", {name.replace(".weight", ".disha"): disha})
        merged = apply_adapter(base, str(path)).tensors[name]
        # y = W x + disha-transposed times the sum of x over groups of `rank` inputs.
        x = np.zeros(-(-columns // rank) * rank)
        x[:columns] = rng.standard_normal(columns)
        expected = tensors[name] @ x[:columns] + x.reshape(-1, rank).sum(0) @ disha
        np.testing.assert_allclose(merged.to_float32() @ x[:columns], expected, atol=1e-4)
        assert_pieces_are_the_whole(merged)


def test_bat_multiplies_blocks(tmp_path, tensors, base):
    weight, rank = tensors[KEY].astype(np.float64), 16
    disha = normal(64 // rank, rank, rank)
    path = write(tmp_path / "bat.st", {KEY.replace(".weight", ".disha"): disha})
    merged = apply_adapter(base, str(path)).tensors[KEY]
    for a in range(64 // rank):
        for b in range(64 // rank):
            place = np.s_[a * rank : (a + 1) * rank, b * rank : (b + 1) * rank]
            expected = weight[place] + weight[place] @ disha[b] + disha[b]
            np.testing.assert_allclose(merged.to_float32()[place], expected, atol=1e-4)
    assert_pieces_are_the_whole(merged)


def peft_folder(folder, parts, **config):
    folder.mkdir(exist_ok=True)
    named = {}
    for side in "AB":
        name = f"base_model.model.model.layers.1.attn.k_proj.lora_{side}.weight"
        named[name] = parts[KEY.replace(".weight", f".lora_{side}")]
    write(folder / "adapter_model.safetensors", named)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_peft_folders_say_their_alpha(tmp_path, tensors, base):
    parts = lora_of(tensors, KEY)
    folder = peft_folder(tmp_path / "peft", parts, lora_alpha=16, r=RANK)
    merged = apply_adapter(base, str(folder)).tensors[KEY].to_float32()
    np.testing.assert_allclose(merged, merged_lora(tensors, parts, KEY, 4), atol=1e-5)
    for option in ({"use_dora": True}, {"use_rslora": True}):
        peft_folder(tmp_path / "peft", parts, lora_alpha=16, **option)
        with pytest.raises(CheckpointError, match=next(iter(option))):
            apply_adapter(base, str(folder))
    for alpha in (None, "4", -1, 0):
        peft_folder(tmp_path / "peft", parts, lora_alpha=alpha)
        with pytest.raises(CheckpointError, match="lora_alpha must be a positive number"):
            apply_adapter(base, str(folder))


def test_what_does_not_fit_is_refused_by_name(tmp_path, tensors, base):
    lora = lora_of(tensors, KEY)
    a, b = (KEY.replace(".weight", f".lora_{side}") for side in "AB")
    disha = KEY.replace(".weight", ".disha")
    for parts, alpha, match in (
        (lora, "", "a LoRA; give its alpha as adapter.st:ALPHA"),
        ({a: lora[a]}, ":8", r"att\.key\.lora_A comes without its lora_B"),
        ({b: lora[b]}, ":8", r"att\.key\.lora_B comes without its lora_A"),
        (
            {**lora, a: normal(RANK, 63)},
            ":8",
            r"shapes \[64, 4\] and \[4, 63\], expected \[64, 64\]",
        ),
        ({**lora, b: normal(64, 5)}, ":8", "and its pair have shapes"),
        ({**lora, a: normal(64)}, ":8", "and its pair have shapes"),
        ({"blocks.7.att.key.lora_A": lora[a]}, ":8", r"no tensor blocks\.7\.att\.key\.weight"),
        ({"blocks.0.ln1.weight": normal(63)}, "", r"has shape \[63\], expected \[64\]"),
        ({disha: normal(16, 63)}, "", "which is no change of"),
        ({disha: normal(3, 16, 16)}, "", "which is no change of"),
        ({disha: normal(2, 24, 24)}, "", "which is no change of"),
        ({disha: normal(0, 64)}, "", "which is no change of"),
        ({}, "", "there is no tensor in it"),
    ):
        path = write(tmp_path / "adapter.st", parts)
        with pytest.raises(CheckpointError, match=match):
            apply_adapter(base, f"{path}{alpha}")
    with pytest.raises(CheckpointError, match="No such file"):
        apply_adapter(base, str(tmp_path / "missing.pth"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="without adapter_config"):
        apply_adapter(base, str(tmp_path / "folder"))
