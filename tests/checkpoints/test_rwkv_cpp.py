"""rwkv.cpp files: own small ones of every generation, trained ones, and broken ones."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.checkpoints.ggml import encode
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.rwkv_cpp import read_rwkv_cpp
from tests.checkpoints.official_models import (
    DIM,
    GENERATIONS,
    LAYERS,
    VOCAB,
    assert_same,
    random_model,
)
from tests.checkpoints.refusals import assert_refused, read_all

TYPES = {"float32": 0, "float16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 7, "q5_1": 8, "q8_0": 9}
KEPT_FLOAT = ("emb.weight", "head.weight")


def header(version=101, vocab=VOCAB, dim=DIM, layers=LAYERS, number=0, magic=0x67676D66):
    return struct.pack("<6I", magic, version, vocab, dim, layers, number)


def record(name, array, number=0, shape=None):
    shape = shape or array.shape
    name = name if isinstance(name, bytes) else name.encode()
    start = struct.pack("<3I", len(shape), len(name), number)
    return start + struct.pack(f"<{len(shape)}i", *shape[::-1]) + name + array.tobytes()


def converted(generation, name, x):
    """What rwkv.cpp's converter makes of an official tensor."""
    kind = name.split(".", 2)[-1].removeprefix("att.")
    if ".time_" in name:
        x = x.squeeze()
    if generation == "7":
        return x.T if kind in {k + side for k in "wavg" for side in "12"} else x
    if generation == "6":
        if kind == "time_faaaa":
            return x[..., None]
        if kind in ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"):
            return x.swapaxes(-1, -2)
        return x.reshape(2, -1, 1) if kind == "time_decay" else x
    if kind == "time_decay":
        if generation == "4":
            return -np.exp(x)
        # With a gate it is taken for 5.2, and a decay of 5.1 becomes two-dimensional.
        decay = np.exp(-np.exp(x))
        return decay.reshape(-1, 1, 1) if generation == "5.0" else decay[..., None]
    if kind == "time_first" and generation != "4":
        return np.exp(x).reshape(-1, 1, 1)
    return x[..., None] if kind == "time_faaaa" else x


def write(path, generation, model, dtype="float32", version=101):
    """An rwkv.cpp file of the official tensors, of which matrices are of the type."""
    records = []
    if generation == "7":
        model = dict(model)
        for layer in range(LAYERS):
            mixes = [model.pop(f"blocks.{layer}.att.x_{kind}") for kind in "rwkvag"]
            model[f"blocks.{layer}.att.x_rwkvag"] = np.concatenate(mixes)
    for name, array in model.items():
        values = np.ascontiguousarray(converted(generation, name, array))
        kept = name in KEPT_FLOAT and dtype.startswith("q")
        kind = dtype if values.ndim == 2 and "weight" in name and not kept else "float32"
        shape = values.shape
        records.append(record(name, encode(values, kind), TYPES[kind], shape))
    path.write_bytes(header(version, number=TYPES[dtype]) + b"".join(records))
    return path


@pytest.mark.parametrize("version", [100, 101])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_reads_back(tmp_path, generation, version):
    model = random_model(generation)
    path = write(tmp_path / "m.bin", generation, model, version=version)
    checkpoint = read_rwkv_cpp(path)
    assert ("group_norm_epsilon" in checkpoint.metadata) == generation.startswith("5")
    computed = {name for name in model if "time_decay" in name or "time_first" in name}
    assert_same(checkpoint, model, rtol=1e-5, atol=1e-6)
    for name in set(model) - computed:
        values = checkpoint.tensors[name].to_float32().reshape(model[name].shape)
        np.testing.assert_array_equal(values, model[name], err_msg=name)
    for name in ("time_decay", "time_first", "time_faaaa", "time_maa_w2", "r_k"):
        if f"blocks.1.att.{name}" in model and generation != "6":
            assert checkpoint.tensors[f"blocks.1.att.{name}"].shape == (
                model[f"blocks.1.att.{name}"].shape
            )


@pytest.mark.parametrize("dtype", [dtype for dtype in TYPES if dtype != "float32"])
def test_every_type_reads_back(tmp_path, dtype):
    model = random_model("7")
    checkpoint = open_checkpoint(write(tmp_path / "m.bin", "7", model, dtype))
    assert_same(checkpoint, model, atol=0.4 if dtype.startswith("q4") else 0.2)
    assert checkpoint.tensors["blocks.1.ffn.key.weight"].dtype == dtype
    assert checkpoint.tensors["blocks.1.att.w1"].dtype == "float32"


def test_quantised_low_rank_matrices_of_rwkv6(tmp_path):
    model = random_model("6")
    name = "blocks.0.att.time_maa_w1"
    path = write(tmp_path / "m.bin", "6", {n: a for n, a in model.items() if n != name})
    data = encode(np.ascontiguousarray(model[name].T), "q5_1")
    path.write_bytes(path.read_bytes() + record(name, data, 8, model[name].T.shape))
    assert_same(open_checkpoint(path), model, rtol=1e-5, atol=0.2)


def test_flat_decay_of_early_rwkv6_files(tmp_path):
    model = random_model("6")
    path = write(tmp_path / "m.bin", "6", {n: a for n, a in model.items() if "decay" not in n})
    for name in model:
        if "decay" in name:
            x = model[name].squeeze()
            array = np.ascontiguousarray(x.T if "_w" in name else x)
            path.write_bytes(path.read_bytes() + record(name, array))
    assert_same(open_checkpoint(path), model)


@pytest.mark.parametrize("generation", ["4", "5.2"])
def test_decays_at_the_end_of_float32_stay_finite(tmp_path, generation):
    model, name = random_model(generation), "blocks.0.att.time_decay"
    extreme = model[name].reshape(-1)
    extreme[:4] = (-200, -20, 5, 80)
    with np.errstate(under="ignore"):
        stored = converted(generation, name, model[name])
        assert {0.0, 1.0 if generation == "5.2" else 0.0} <= set(stored.reshape(-1).tolist())
        tensor = open_checkpoint(write(tmp_path / "m.bin", generation, model)).tensors[name]
        again = converted(generation, name, tensor.to_float32())
    assert np.isfinite(tensor.to_float32()).all()
    np.testing.assert_allclose(again, stored, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    "4v0-660K-FP16 4v0-660K-FP32 4v0-660K-Q5_1 5v2-730K-FP32 5v2-730K-Q5_0 "
    "6v0-3m-Q5_1 7v0-834K-FP16 7v0-834K-FP32 7v0-834K-Q5_1".split(),
)
def test_trained_files(fixtures_dir, name):
    checkpoint = open_checkpoint(fixtures_dir / "tiny-rwkv" / f"tiny-rwkv-{name}.bin")
    kinds = {n.split(".", 2)[-1]: t for n, t in checkpoint.tensors.items()}
    assert checkpoint.tensors["emb.weight"].shape[0] == 256
    for tensor in checkpoint.tensors.values():
        assert np.isfinite(tensor.to_float32()).all(), tensor.name
    dim = kinds["weight" if "weight" in kinds else "ln1.weight"].shape[-1]
    decay = kinds.get("att.time_decay")
    if name[0] == "4":
        assert decay.shape == kinds["att.time_first"].shape == (dim,)
    elif name[0] == "5":
        assert decay.shape == kinds["att.time_faaaa"].shape == (8, 8)
    elif name[0] == "6":
        assert decay.shape == (1, 1, dim)
        assert kinds["att.time_faaaa"].shape == (16, 8)
        assert kinds["att.time_maa_w1"].shape == (dim, 160)
        assert kinds["att.time_maa_w2"].shape == (5, 32, dim)
        assert kinds["att.time_decay_w1"].shape == (dim, 64)
        assert kinds["att.time_decay_w2"].shape == (64, dim)
    if decay is not None:  # of trained models: decays between 0.9999 and 0.00001 per token
        assert -10 < decay.to_float32().min() < decay.to_float32().max() < 4


def test_trained_rwkv7_is_that_of_safetensors(fixtures_dir):
    folder = fixtures_dir / "tiny-rwkv"
    expected = open_checkpoint(folder / "tiny-rwkv-7v0-834K.safetensors")
    arrays = {name: tensor.to_float32() for name, tensor in expected.tensors.items()}
    found = open_checkpoint(folder / "tiny-rwkv-7v0-834K-FP32.bin")
    assert_same(found, arrays)
    assert {n: t.shape for n, t in found.tensors.items()} == {
        n: t.shape for n, t in expected.tensors.items()
    }
    assert_same(
        open_checkpoint(folder / "tiny-rwkv-7v0-834K-FP16.bin"), arrays, rtol=1e-3, atol=1e-4
    )


def small_file():
    ones = np.ones((2, 3), np.float32)
    head = header(vocab=2, dim=3, layers=1)
    return head + record("emb.weight", ones) + record("blocks.0.ln1.weight", ones[0])


def test_smallest_file(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(small_file())
    assert_same(
        open_checkpoint(path),
        {"emb.weight": np.ones((2, 3)), "blocks.0.ln1.weight": np.ones(3)},
    )


def test_every_truncation_is_refused(tmp_path):
    data, path = small_file(), tmp_path / "cut.bin"
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        assert_refused(path)


ROW = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header(version=99), "unknown version 99"),
        (header(number=4), "Q4_1_O, which rwkv.cpp gave up"),
        (header(number=10), "unknown type 10"),
        (header(version=100, number=8), "q5_1 of an old version"),
        (header(), "emb.weight is missing"),
        (small_file() + header(), "dimensions"),
        (small_file().replace(struct.pack("<2I", 2, 3), struct.pack("<2I", 5, 3), 1), "shape"),
        (small_file() + record("blocks.1.ln1.weight", ROW), "1 layers"),
        (small_file() + record("blocks.0.ln1.weight", ROW), "twice"),
        (small_file() + record("a", ROW, 5), "Q4_2, which rwkv.cpp gave up"),
        (small_file() + record("a", ROW, 77), "unknown type 77"),
        (small_file() + record("a", ROW, 8), "q5_1 has no rows of 3"),
        (small_file() + record("a", ROW, shape=(-3,)), "impossible shape"),
        (small_file() + record("a", ROW, shape=(0,)), "impossible shape"),
        (small_file() + record("a", ROW, shape=(2**31 - 1,) * 3), "past the end"),
        (small_file() + record("a", ROW, shape=(1, 1, 1, 3)), "4 dimensions"),
        (small_file() + record("", ROW), "a name of 0 bytes"),
        (small_file() + record("a" * 300, ROW), "a name of 300 bytes"),
        (small_file() + record(b"\xff\xfe", ROW), "damaged name"),
        (small_file() + record("n\n\x1b[31m", ROW, 77), "unknown type"),
        (small_file() + record("blocks.0.att.k_k", ROW) + record("blocks.0.att.w1", ROW), "never"),
        (small_file() + record("blocks.0.att.x_rwkvag", ROW), "never writes"),
        (small_file() + record("blocks.0.att.x_rwkvag", np.ones((2, 3), "f4")), "never writes"),
        (
            small_file()
            + record("blocks.0.att.x_rwkvag", np.ones((6, 3), "f4"))
            + record("blocks.0.att.x_k", ROW),
            "twice",
        ),
        (
            small_file()
            + record("blocks.0.att.time_faaaa", np.ones((3, 2), "f4"))
            + record("blocks.0.att.time_decay", np.ones((3, 2), "f4")),
            "never writes",
        ),
    ],
)
def test_lies_are_refused(tmp_path, content, match):
    path = tmp_path / "bad.bin"
    path.write_bytes(content)
    assert_refused(path, match)


def test_number_of_tensors_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("server.checkpoints.rwkv_cpp.MAX_TENSORS", 1)
    path = tmp_path / "many.bin"
    path.write_bytes(small_file())
    assert_refused(path, "more than 1 tensors")


def test_decays_that_no_model_has_are_not_numbers(tmp_path):
    model = random_model("4")
    path = write(tmp_path / "m.bin", "4", model)
    name = "blocks.0.att.time_decay"
    stored = converted("4", name, model[name]).tobytes()
    path.write_bytes(path.read_bytes().replace(stored, np.ones(DIM, np.float32).tobytes()))
    assert np.isnan(read_rwkv_cpp(path).tensors[name].to_float32()).all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return write(folder / "whole.bin", "6", random_model("6"), "q8_0").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.data())
def test_flipped_bytes_never_crash(tmp_path, whole, data):
    content = bytearray(whole)
    places = st.integers(0, 400) | st.integers(0, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.bin"
    path.write_bytes(content)
    read_all(path)
