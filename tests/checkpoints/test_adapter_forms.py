"""Adapters in the layouts of RWKV-PEFT, old and new, and of PEFT; what is none of them says so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from server.checkpoints import adapters
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.contents import part_of
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model.config import read_config
from server.model.open_parts import open_parts
from server.model_names import split_adapter
from tests import naive_adapters
from tests.checkpoints.ai00_files import write_st
from tests.checkpoints.torch_files import write_pth
from tests.model.random_models import random_tensors, write_model

KEY, WIDE, TALL = "blocks.1.att.key", "blocks.0.ffn.value", "blocks.0.ffn.key"
MODULES = (KEY, WIDE, TALL)
PEFT = "base_model.model."
rng = np.random.default_rng(1)


def normal(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(layers=2, dim=64, head_size=32, vocab_size=50)


@pytest.fixture(scope="module")
def model(tensors, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base") / "base.st", tensors)


def write(path, tensors):
    write_safetensors(path, {name: ("float32", values) for name, values in tensors.items()})
    return path


def peft_folder(folder, parts, weights="adapter_model.safetensors", **config):
    folder.mkdir(exist_ok=True)
    stored = {n: ("float32", v) for n, v in parts.items()}
    if weights.endswith(".bin"):
        write_pth(folder / weights, stored)
    else:
        write_safetensors(folder / weights, stored)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merge(model, text):
    """As --adapter FILE[:ALPHA]; a function from a tensor's name to its values."""
    file, alpha = split_adapter(str(text))
    merged = adapters.apply_adapter(open_checkpoint(model), Path(file), alpha)
    return lambda module: merged.tensors[f"{module}.weight"]


def check(tensor, expected):
    whole = tensor.to_float32()
    np.testing.assert_allclose(whole, expected, atol=3e-5, rtol=1e-5)
    for size in (1, 5, 16, 48):
        pieces = [
            tensor.to_float32(slice(first, first + size)) for first in range(0, len(whole), size)
        ]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


def exact(tensors, module):
    return tensors[f"{module}.weight"].astype(np.float64)


@pytest.mark.parametrize("kind", ["bone", "disha", "miss"])
@pytest.mark.parametrize("prefix", ["", "model.", "_forward_module.model."])
def test_old_names_of_the_shared_matrix(tmp_path, model, tensors, kind, prefix):
    parts = {m: normal(24, len(tensors[f"{m}.weight"])) for m in MODULES}
    path = tmp_path / "rwkv-0.pth"
    write_pth(path, {f"{prefix}{m}.{kind}": ("float32", v) for m, v in parts.items()})
    found = merge(model, path)
    for module, shared in parts.items():
        check(found(module), naive_adapters.bone(exact(tensors, module), shared.astype(float)))


@pytest.mark.parametrize("kind", ["bone", "disha", "bone_block", "miss_block"])
def test_bat_of_rwkv_peft_goes_by_columns_and_of_peft_by_rows(tmp_path, model, tensors, kind):
    by, rank = ("row", 0) if kind.endswith("_block") else ("column", 1), 16
    by, axis = by
    parts = {
        m: 0.3 * normal(tensors[f"{m}.weight"].shape[axis] // rank, rank, rank) for m in MODULES
    }
    path = write(tmp_path / "bat.st", {f"{m}.{kind}": v for m, v in parts.items()})
    found = merge(model, path)
    for module, blocks in parts.items():
        expected = naive_adapters.bat(exact(tensors, module), blocks.astype(float), by)
        check(found(module), expected)


@pytest.mark.parametrize("kind", ["miss", "bone"])
@pytest.mark.parametrize("form", [True, False, "bat", "mini"])
@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
def test_miss_of_peft(tmp_path, model, tensors, kind, form, weights):
    rank, mini = 16, 8
    parts = {}
    for module in MODULES:
        rows = len(tensors[f"{module}.weight"])
        shape = {"bat": (rows // rank, rank, rank), "mini": (rank, mini)}.get(form, (rank, rows))
        parts[module] = 0.3 * normal(*shape)
    folder = peft_folder(
        *(tmp_path / "peft", {f"{PEFT}{m}.{kind}_block": v for m, v in parts.items()}, weights),
        peft_type=kind.upper(), r=rank, mini_r=mini if form == "mini" else 1, init_weights=form,
    )  # fmt: skip
    for path in (folder, folder / weights):  # its file alone finds the configuration
        found = merge(model, path)
        for module, shared in parts.items():
            weight, values = exact(tensors, module), shared.astype(float)
            expected = {
                "bat": lambda w, v: naive_adapters.bat(w, v, "row"),
                "mini": naive_adapters.mini,
            }.get(form, naive_adapters.bone)(weight, values)
            check(found(module), expected)


def lora_of(tensors, *modules, initial="", rank=4):
    parts = {}
    for module in modules:
        rows, columns = tensors[f"{module}.weight"].shape
        parts[f"{module}.{initial}lora_A"] = normal(rank, columns)
        parts[f"{module}.{initial}lora_B"] = normal(rows, rank)
    return parts


@pytest.mark.parametrize("inside", [True, False])
def test_pissa_with_its_initial_weights(tmp_path, model, tensors, inside):
    trained = lora_of(tensors, KEY, TALL)
    initial = lora_of(tensors, KEY, TALL, WIDE, initial="init_")
    if inside:
        path = write(
            tmp_path / "rwkv-0.st", trained | {n: initial[n] for n in initial if WIDE not in n}
        )
    else:
        path = write(tmp_path / "rwkv-0.pth", trained)  # formats are told by content
        prefixed = {f"model.{n}": ("float32", v) for n, v in initial.items()}
        write_pth(tmp_path / "init_pissa.pth", prefixed)
    if inside:
        found = merge(model, path)
    else:
        with pytest.raises(CheckpointError, match=r"value\.init_lora_A comes without its lora_A"):
            merge(model, path)
        del prefixed[f"model.{WIDE}.init_lora_A"], prefixed[f"model.{WIDE}.init_lora_B"]
        write_pth(tmp_path / "init_pissa.pth", prefixed)
        found = merge(model, path)
    for module in (KEY, TALL):
        pairs = [
            parts[f"{module}.{prefix}lora_{side}"].astype(float)
            for parts, prefix in ((trained, ""), (initial, "init_"))
            for side in "AB"
        ]
        check(found(module), naive_adapters.pissa(exact(tensors, module), *pairs))
    with pytest.raises(CheckpointError, match="PiSSA has no alpha; leave out :8"):
        merge(model, f"{path}:8")


def test_pissa_without_them_is_named(tmp_path, model, tensors):
    initial = write(tmp_path / "start.st", lora_of(tensors, KEY, initial="init_"))
    with pytest.raises(CheckpointError, match="the initial weights of PiSSA, not an adapter"):
        merge(model, initial)
    trained = lora_of(tensors, KEY)
    with pytest.raises(CheckpointError, match=r"PiSSA, .* needs its init_pissa\.pth next to it"):
        merge(model, write(tmp_path / "rwkv-0.st", trained))
    named = {f"{PEFT}{name}.weight": values for name, values in trained.items()}
    for initialisation, title in (
        ("pissa", "PiSSA"), ("pissa_niter_16", "PiSSA"), ("olora", "OLoRA"), ("loftq", "LoftQ"),
        ("corda", "CorDA"), ("lora_ga", "LoRA-GA"),
    ):  # fmt: skip
        folder = peft_folder(
            tmp_path / "peft", named, r=4, lora_alpha=4, init_lora_weights=initialisation
        )
        with pytest.raises(CheckpointError, match=f"{title} changes the model's weights"):
            merge(model, folder)
    for initialisation in (True, False, "gaussian", "eva", "orthogonal"):
        folder = peft_folder(
            tmp_path / "peft", named, r=4, lora_alpha=8, init_lora_weights=initialisation
        )
        sides = (trained[f"{KEY}.lora_{side}"].astype(float) for side in "AB")
        check(merge(model, folder)(KEY), naive_adapters.lora(exact(tensors, KEY), *sides, 8))


def states(layers=2, full=False):
    found = {f"blocks.{i}.att.time_state": normal(2, 32, 32) for i in range(layers)}
    if full:
        for part in ("att", "ffn"):
            found |= {f"blocks.{i}.{part}.ts_state": normal(64) for i in range(layers)}
    return found


def test_folders_given_for_each_other(tmp_path, model, tensors):
    adapter = peft_folder(tmp_path / "peft", {f"{PEFT}{KEY}.miss_block": normal(8, 64)}, r=8)
    whole = tmp_path / "whole"
    whole.mkdir()
    write_model(whole / "model.safetensors", tensors)
    (whole / "config.json").write_text("{}")
    for path, given, states_, match in (
        (model, [str(whole)], {}, "a whole model, not an adapter; serve it as MODEL"),
        (model, [], {"x": str(adapter)}, "a folder, not a state; an adapter: pass it as --adapter"),
        (model, [], {"x": str(whole)}, "a folder, not a state; name the file"),
        (adapter / "adapter_model.safetensors", [], {}, "an adapter, not a model"),
    ):
        with pytest.raises(CheckpointError, match=match):
            open_parts(path, given, states_)


@pytest.mark.parametrize("full", [False, True])
def test_files_given_for_each_other(tmp_path, model, tensors, full):
    state = write(tmp_path / "state.pth", states(full=full))
    adapter = write(tmp_path / "adapter.pth", lora_of(tensors, KEY))
    parts = {"": (), "state": state, "adapter": adapter, "model": model}
    for given, option, match in (
        ("state", "adapter", "a tuned state, not an adapter; pass it as --state NAME=FILE"),
        ("model", "adapter", "a whole model, not an adapter; serve it as MODEL"),
        ("adapter", "state", "of an adapter, not of a state: pass the file as --adapter FILE"),
        ("model", "state", "of a whole model, not of a state: serve the file as MODEL"),
        (
            "state",
            "model",
            "a tuned initial state, not a model: serve a model with --state NAME=FILE",
        ),
        ("adapter", "model", "an adapter, not a model: serve a model with --adapter FILE"),
    ):
        path = parts[given]
        with pytest.raises(CheckpointError, match=re.escape(match)) as error:
            open_parts(
                path if option == "model" else model,
                [str(path)] if option == "adapter" else (),
                {"x": str(path)} if option == "state" else {},
            )
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_whole_tensors_of_an_adapter_alone_are_an_adapter(tmp_path, model, tensors):
    """With an adapter of v6, train_parts "time" are as many as these."""
    changed = {n: normal(*v.shape) for n, v in tensors.items() if "ln" in n or n == "emb.weight"}
    path = write(tmp_path / "parts.st", changed)
    found = adapters.apply_adapter(open_checkpoint(model), path, None)
    for name, values in changed.items():
        np.testing.assert_array_equal(found.tensors[name].to_float32(), values)


def test_an_adapter_may_bring_a_state(tmp_path, model):
    tuned = states(full=True)
    path = write(tmp_path / "both.st", tuned | {f"{KEY}.bone": normal(8, 64)})
    _, _, found = open_parts(model, [str(path)], {})
    name = "blocks.1.att.time_state"
    np.testing.assert_array_equal(found[""]["wkv"][1], tuned[name].transpose(0, 2, 1))
    np.testing.assert_array_equal(found[""]["shift"][1, 1], tuned["blocks.1.ffn.ts_state"])


A, B = {f"{KEY}.lora_A": (4, 64)}, {f"{KEY}.lora_B": (64, 4)}
BONE = {f"{KEY}.bone": (8, 64)}


@pytest.mark.parametrize(
    ("shapes", "alpha", "match"),
    [
        (BONE, ":8", r"Bone \(DiSHA\) has no alpha"),
        ({"ln_out.weight": (64,)}, ":8", "whole tensors have no alpha"),
        (BONE | {f"{KEY}.disha": (8, 64)}, "", "is there twice"),
        (BONE | A | B, ":8", "one file holds one form"),
        (A | B | {f"{TALL}.disha": (8, 256)}, ":8", "one file holds one form"),
        (BONE | {f"{TALL}.miss_block": (8, 256)}, "", "one file holds one form"),
        (A, ":8", "lora_A comes without its lora_B"),
        (B, ":8", "lora_B comes without its lora_A"),
        (A | B | {f"model.{KEY}.lora_A.weight": (4, 64)}, ":8", "are named by two exporters"),
        ({f"{KEY}.bone": (64, 8)}, "", r"\[64, 8\], which is no change of \[64, 64\]"),
        ({f"{KEY}.bone": (128, 64)}, "", "which is no change of"),
        ({f"{TALL}.bone": (16, 16, 16)}, "", "which is no change of"),  # by rows
        ({f"{TALL}.miss_block": (4, 16, 16)}, "", "which is no change of"),  # by columns
        ({f"{KEY}.miss_block": (8, 16)}, "", r"give the folder with its adapter_config\.json"),
        ({f"{KEY}.miss": (4, 16, 16)}, "", "which is no change of"),  # by rows or by columns?
        ({f"{KEY}.miss_block": (8, 0)}, "", "which is no change of"),
        ({f"{KEY}.bone": (8,)}, "", "which is no change of"),
        ({f"{KEY}.bone": ()}, "", "which is no change of"),
        ({"blocks.0.ln1.bone": (8, 64)}, "", "which is no change of"),
        ({"emb.weight": (49, 64)}, "", r"emb\.weight has shape \[49, 64\], expected"),
        ({"blocks.2.att.key.bone": (8, 64)}, "", r"no tensor blocks\.2\.att\.key\.weight"),
        ({"lm.encoder.weight": (8, 64)}, "", r"no tensor lm\.encoder\.weight"),
    ],
)
def test_what_does_not_fit_names_file_and_tensor(tmp_path, model, shapes, alpha, match):
    path = write(tmp_path / "adapter.st", {name: normal(*shape) for name, shape in shapes.items()})
    with pytest.raises(CheckpointError, match=match) as error:
        merge(model, f"{path}{alpha}")
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("parts", "config", "match"),
    [
        ({"miss_block": (8, 64)}, {"r": 16}, "has rank 8, but the configuration says 16"),
        (
            {"lora_A.weight": (4, 64), "lora_B.weight": (64, 4)},
            {"r": 8, "peft_type": "LORA"},
            "rank 4",
        ),
        ({"miss_block": (8, 64)}, {"r": 8, "init_weights": "bat"}, "which is no change of"),
        ({"miss_block": (4, 16, 16)}, {"r": 16, "init_weights": True}, "which is no change of"),
        ({"miss_block": (8, 16)}, {"r": 8, "init_weights": True}, "which is no change of"),
        ({"miss_block": (8, 64)}, {"r": 8, "init_weights": "mini", "mini_r": 16}, "no change of"),
        ({"miss_block": (8, 48)}, {"r": 8, "init_weights": "mini", "mini_r": 48}, "no change of"),
        ({"miss_block": (8, 64)}, {"r": 8, "init_weights": "mini"}, "mini_r must be"),
        ({"miss_block": (8, 64)}, {"r": 8, "init_weights": "other"}, "init_weights must be"),
        ({"miss_block": (8, 64)}, {"peft_type": "LORA"}, "of MiSS .*the configuration is of LoRA"),
        ({"lora_A": (8, 64), "lora_B": (64, 8)}, {}, "of LoRA, but the configuration is of MiSS"),
        ({"miss_block": (8, 64)}, {"r": "8"}, "r must be a positive integer"),
        ({"lokr_w1": (8, 64)}, {"peft_type": "LOKR"}, "peft_type LOKR is not supported"),
        ({"lora_magnitude_vector": (64,)}, {"peft_type": "LORA"}, "has no tensor"),
    ],
)
def test_configurations_that_disagree(tmp_path, model, parts, config, match):
    named = {f"{PEFT}{KEY}.{name}": normal(*shape) for name, shape in parts.items()}
    config = {"peft_type": "MISS", "lora_alpha": 8, **config}
    with pytest.raises(CheckpointError, match=match):
        merge(model, peft_folder(tmp_path / "peft", named, **config))


def test_digests_know_shapes_and_forms(tmp_path, model):
    values = normal(8, 64)
    changes = set()
    base = open_checkpoint(model)
    for kind, shape in (("bone", (8, 64)), ("bone_block", (8, 64)), ("bone", (4, 16, 16))):
        values = np.resize(values, shape)
        path = write(tmp_path / "a.st", {f"{KEY}.{kind}": values})
        changes.add(adapters.apply_adapter(base, path, None).changes)
    assert len(changes) == 3


@pytest.mark.parametrize("seed", range(8))
def test_damaged_adapters_are_refused_in_one_line(tmp_path, model, tensors, seed):
    """Cut or changed anywhere, a file is refused or read; it never ends in another error."""
    good = write(tmp_path / "good.st", lora_of(tensors, KEY) | {f"{KEY}.weight": normal(64, 64)})
    path, generator, refused = tmp_path / "bad.st", np.random.default_rng(seed), 0
    for _ in range(60):
        content = bytearray(good.read_bytes())
        header = 8 + int.from_bytes(content[:8], "little")
        for place in generator.integers(0, header, generator.integers(1, 4)):
            content[place] = generator.integers(0, 256)
        cut = generator.integers(0, len(content)) if generator.random() < 0.3 else None
        path.write_bytes(content[:cut])
        message = refusal(lambda: merge(model, f"{path}:4"))
        refused += message is not None
        assert message is None or (str(path) in message and "\n" not in message)
    assert refused > 40


def refusal(action):
    """What a CheckpointError says; None if there was none."""
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return None


@pytest.mark.parametrize("suffix", ["", ".weight"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_lora_of_ai00_is_the_one_that_it_was_made_of(model, tmp_path, dtype, suffix):
    """Its convert_safetensors.py renames the pair and turns A."""
    parts, turned = {}, {}
    for module in MODULES:
        rows, columns = open_checkpoint(model).tensors[f"{module}.weight"].shape
        a, b = normal(8, columns).astype(dtype), normal(rows, 8).astype(dtype)
        parts |= {f"{module}.lora_A": a.astype("f4"), f"{module}.lora_B": b.astype("f4")}
        turned |= {f"{module}{suffix}.lora.0": a.T, f"{module}{suffix}.lora.1": b}
    expected = merge(model, f"{write(tmp_path / 'a.st', parts)}:32")
    found = merge(model, f"{write_st(tmp_path / 'b.st', turned)}:32")
    for module in MODULES:
        assert found(module).to_float32().tobytes() == expected(module).to_float32().tobytes()
    with pytest.raises(CheckpointError, match="an adapter, not a model: serve a model with"):
        read_config(open_checkpoint(tmp_path / "b.st"))
    as_they_were = {name: v.T if ".lora.0" in name else v for name, v in turned.items()}
    with pytest.raises(CheckpointError, match=r"lora\.0 and its pair have shapes"):
        merge(model, f"{write_st(tmp_path / 'c.st', as_they_were)}:32")


def test_low_rank_matrices_of_fla_are_no_adapter():
    for name in (
        "model.layers.0.attn.w_lora.lora.0.weight",
        "model.layers.0.attn.w_proj.linear.lora.0.weight",
        "model.layers.1.attn.v_lora.lora.2.bias",
    ):
        assert part_of(name).form is None


@pytest.mark.parametrize("kind", ["lora_A", "bone", "weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_the_adapters(model, tmp_path, kind, value):
    parts = {
        "lora_A": {f"{KEY}.lora_A": normal(8, 64), f"{KEY}.lora_B": normal(64, 8)},
        "bone": {f"{KEY}.bone": normal(8, 64)},
        "weight": {f"{KEY}.weight": normal(64, 64)},
    }[kind]
    parts[f"{KEY}.{kind}"][3, 5] = value
    path = write(tmp_path / "bad.st", parts)
    with pytest.raises(CheckpointError, match=rf"bad\.st: tensor .*{kind} has values that are not"):
        merge(model, f"{path}:8" if kind == "lora_A" else path)
