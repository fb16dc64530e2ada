"""A transformation needs evidence: what two layouts have in common decides nothing."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model.config import read_config
from server.model.initial_state import read_initial_state
from server.model.loading import load_weights
from tests.checkpoints.ai00_files import OLD_TURNED, converted, halves, write_st
from tests.checkpoints.huggingface_exports import fla7
from tests.checkpoints.torch_files import write_pth
from tests.model.random_models import random_tensors

GENERATIONS = ("rwkv4", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7")


def official(generation, **sizes):
    """Values that float16 holds, so that nothing is rounded; low ranks are not square."""
    sizes = {"layers": 2, "dim": 48, "vocab_size": 19, "head_size": 8} | sizes
    return halves(random_tensors(generation=generation, **sizes))


def in_halves(tensors):
    return {name: values.astype(np.float16) for name, values in tensors.items()}


def with_states(tensors):
    rng = np.random.default_rng(5)
    states = {
        f"blocks.{layer}.att.time_state": rng.standard_normal((6, 8, 8)) for layer in range(2)
    }
    return tensors | halves(states)


def per_channel(tensors):
    """RWKV-5.1 as the converter stores it: 5.2, of which all channels of a head have one value."""
    return {
        name: np.repeat(v[:, None], 8, axis=1)
        if name.endswith(("time_decay", "time_faaaa")) and v.ndim == 1
        else v
        for name, v in tensors.items()
    }


def assert_is(path, expected):
    checkpoint = open_checkpoint(path)
    read_config(checkpoint)
    assert set(checkpoint.tensors) == set(expected)
    for name, values in expected.items():
        found = checkpoint.tensors[name]
        assert found.name == name
        np.testing.assert_array_equal(found.to_float32(), values, err_msg=name)


def assert_refused(path, match):
    with pytest.raises(CheckpointError, match=match) as error:
        read_config(open_checkpoint(path))
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_ai00s_converter_changes_is_undone(tmp_path, generation, dtype):
    tensors = official(generation)
    if generation != "rwkv4":
        tensors = with_states(tensors)
    if dtype == np.float32 and generation == "rwkv7":
        tensors = tensors | random_tensors(layers=2, dim=48, vocab_size=19, head_size=8, seed=9)
    path = write_st(tmp_path / "m.st", converted(tensors, dtype=dtype))
    assert_is(path, per_channel(tensors) if generation == "rwkv5.1" else tensors)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_its_older_versions_change_less(tmp_path, generation):
    tensors = official(generation)
    stored = converted(tensors, turned=OLD_TURNED, repeats=False)
    assert_is(write_st(tmp_path / "m.st", stored, metadata={}), tensors)


@pytest.mark.parametrize("generation", ["rwkv5.0", *GENERATIONS])
def test_official_files_of_any_dtype_stay_what_they_are(tmp_path, generation):
    tensors = official(generation)
    arrays = {name: ("float16", values.astype(np.float16)) for name, values in tensors.items()}
    assert_is(write_pth(tmp_path / "m.pth", arrays), tensors)
    assert_is(write_st(tmp_path / "half.st", {n: v for n, (_, v) in arrays.items()}), tensors)
    assert_is(write_st(tmp_path / "full.st", tensors), tensors)


def test_the_first_rwkv5_has_the_logarithm_of_its_bonus(tmp_path):
    tensors = official("rwkv5.0")
    name, bonus = "blocks.1.att.time_first", np.linspace(-3, 1, 6, dtype=np.float32)
    old = {n.replace("faaaa", "first"): v for n, v in tensors.items()} | {name: bonus}
    arrays = {n: ("float16", v.astype(np.float16)) for n, v in old.items()}
    for path in (write_pth(tmp_path / "m.pth", arrays), write_st(tmp_path / "m.st", old)):
        found = open_checkpoint(path).tensors["blocks.1.att.time_faaaa"].to_float32()
        np.testing.assert_allclose(found, np.exp(bonus), rtol=2e-3)
    for ambiguous in (old, converted(tensors)):  # the converter calls the later bonus so, too
        halved = in_halves(ambiguous)
        path = write_st(tmp_path / "half.st", halved)
        assert_refused(path, r"half\.st: tensor blocks\.0\.att\.time_first: may be the logarithm")


def test_a_bonus_beside_a_gate_is_no_logarithm(tmp_path):
    """What the official package would take the exponential of, no official checkpoint has."""
    tensors = official("rwkv5.2")
    renamed = {n.replace("faaaa", "first"): v for n, v in tensors.items()}
    assert_is(write_st(tmp_path / "m.st", renamed), tensors)
    arrays = {n: ("float32", v) for n, v in renamed.items()}
    assert_refused(write_pth(tmp_path / "m.pth", arrays), "time_first: is there with a gate")


def square(generation):
    """Every low-rank matrix of RWKV-7 is square at 32 channels."""
    tensors = official(generation, dim=32)
    if generation == "rwkv6":
        for name in list(tensors):
            shape = tensors[name].shape
            if name.endswith(("maa_w1", "maa_w2", "decay_w1", "decay_w2")):
                new = (5, 35, 35) if name.endswith("maa_w2") else (35, 35)
                tensors[name] = np.resize(tensors[name], new)
            elif 32 in shape:
                tensors[name] = np.resize(tensors[name], [35 if n == 32 else n for n in shape])
    return tensors


def test_square_matrices_of_rwkv7(tmp_path):
    tensors = square("rwkv7")
    low_rank = [n for n in tensors if n[-1] in "12" and n[-2] in "wavg"]
    assert all(tensors[name].shape == (32, 32) for name in low_rank)
    arrays = {n: ("float16", v.astype(np.float16)) for n, v in tensors.items()}
    assert_is(write_pth(tmp_path / "m.pth", arrays), tensors)
    assert_is(write_st(tmp_path / "full.st", tensors), tensors)
    halved = in_halves(tensors)
    assert_is(write_st(tmp_path / "ours.st", halved, {"generation": "rwkv7"}), tensors)
    marked = converted(tensors)
    assert_is(write_st(tmp_path / "marked.st", marked, {"layout": "ai00"}), tensors)
    one = "blocks.1.att.g2"  # one that is not square tells for all
    told = tensors | {n: np.tile(v, (2, 1)) for n, v in tensors.items() if n.endswith("g2")}
    told |= {n: np.tile(v, (1, 2)) for n, v in tensors.items() if n.endswith("g1")}
    assert told[one].shape == (64, 32)
    assert_is(write_st(tmp_path / "told.st", converted(told)), told)
    assert_is(write_st(tmp_path / "told2.st", in_halves(told)), told)
    for ambiguous in (halved, marked):
        path = write_st(tmp_path / "half.st", ambiguous)
        assert_refused(path, r"half\.st: tensor blocks\.0\.att\.\w\d: is square \[32, 32\]")
    exported = write_st(tmp_path / "fla.st", in_halves(fla7(tensors)))
    assert_is(exported, tensors)  # its names say it


def test_square_matrices_of_renamed_rwkv6(tmp_path):
    tensors = square("rwkv6")
    assert all(v.shape[-1] == v.shape[-2] for n, v in tensors.items() if n.endswith("_w1"))
    found = open_checkpoint(write_st(tmp_path / "m.st", converted(tensors))).tensors
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name].to_float32(), values, err_msg=name)


def test_square_matrices_of_official_rwkv6_need_no_more_evidence(tmp_path):
    tensors = square("rwkv6")
    found = open_checkpoint(write_st(tmp_path / "m.st", in_halves(tensors))).tensors
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name].to_float32(), values, err_msg=name)


def test_whole_matrices_of_an_adapter_are_left_to_the_model(tmp_path):
    """There is no embedding to compare them with; a wrong shape shows when they are merged."""
    part = {"blocks.0.att.w1": np.ones((48, 32), np.float16)}
    assert open_checkpoint(write_st(tmp_path / "a.st", part)).tensors["blocks.0.att.w1"].is_plain
    part = {"blocks.0.att.w1": np.ones((48, 48), np.float16)}
    with pytest.raises(CheckpointError, match=r"att\.w1: is square"):
        open_checkpoint(write_st(tmp_path / "b.st", part))


def test_half_a_conversion_is_refused(tmp_path):
    tensors = official("rwkv7")
    mixed = tensors | {"blocks.1.att.a1": np.ascontiguousarray(tensors["blocks.1.att.a1"].T)}
    path = write_st(tmp_path / "m.st", mixed)
    assert_refused(path, r"blocks\.1\.att\.a1: \[32, 48\] is transposed, and .* is not: a mixture")
    both = converted(official("rwkv6"))
    both["blocks.0.att.time_maa_x"] = both["blocks.0.att.time_mix_x"]
    path = write_st(tmp_path / "n.st", both)
    assert_refused(path, r"time_ma?\w+_x: blocks\.0\.att\.time_maa_x is there as well")


def test_states_of_float16_do_not_tell_which_way_round_they_are(tmp_path):
    model = official("rwkv7")
    states = {n: v for n, v in with_states(model).items() if "time_state" in n}
    config = read_config(open_checkpoint(write_st(tmp_path / "m.st", model)))
    pth = write_pth(tmp_path / "s.pth", {n: ("float32", v) for n, v in states.items()})
    expected = read_initial_state(config, pth)["wkv"]
    found = read_initial_state(config, write_st(tmp_path / "s.st", states))["wkv"]
    np.testing.assert_array_equal(found, expected)
    halved = in_halves(states)
    assert_refused(write_st(tmp_path / "half.st", halved), "time_state: a state of float16")
    # RWKV-7's own matrices do not tell either: older converters turn only states.
    stored = converted(with_states(model), turned=OLD_TURNED)
    assert_refused(write_st(tmp_path / "old.st", stored), "time_state: a state of float16")


@pytest.mark.parametrize("start", [b"\xa5\x64info", b"\xbf\x67context", b"anything"])
def test_a_prefab_is_named(tmp_path, start):
    path = tmp_path / ("m.prefab" if start == b"anything" else "model.bin")
    path.write_bytes(start + bytes(40))
    assert_refused(path, "a prefab: a model that Ai00 or web-rwkv has loaded")


def test_a_decay_that_is_no_logarithm_any_more_is_refused(tmp_path):
    """As some converters of RWKV-4 to safetensors store it, with the official names."""
    tensors = official("rwkv4")
    done = {n: -np.exp(v) if n.endswith("time_decay") else v for n, v in tensors.items()}
    path = write_st(tmp_path / "m.safetensors", done)
    assert_refused(path, r"blocks\.0\.att\.time_decay: is negative throughout, in all layers")
    one = tensors | {"blocks.0.att.time_decay": done["blocks.0.att.time_decay"]}
    assert_is(write_st(tmp_path / "n.safetensors", one), one)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("generation", ["rwkv5.2", "rwkv6", "rwkv7"])
def test_kernels_get_the_same_bits_from_every_layout(tmp_path, generation, dtype):
    tensors = official(generation)
    halved = in_halves(tensors)

    def packed(path):
        checkpoint = open_checkpoint(path)
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, dtype, Team(1), None, lambda *_: None)
        arrays = [part if isinstance(part, tuple) else (part,) for part in weights]
        return b"".join(array.tobytes() for part in arrays for array in part)

    pth = write_pth(tmp_path / "m.pth", {n: ("float16", v) for n, v in halved.items()})
    files = [write_st(tmp_path / "m.st", converted(tensors))]
    files.append(write_st(tmp_path / "m.safetensors", halved))
    if generation == "rwkv7":
        files.append(write_st(tmp_path / "fla.safetensors", fla7(halved)))
        named = {f"rwkv7.{n}": v for n, v in halved.items()}
        files.append(write_st(tmp_path / "tf.safetensors", named))
    expected = packed(pth)
    for path in files:
        assert packed(path) == expected, path.name
