"""Packed models: what packing at load makes, bit for bit; what is wrong with one is one line."""

import hashlib
import json
import tracemalloc
import zlib
from dataclasses import asdict, replace

import numpy as np
import pytest

from server.checkpoints.checkpoint import EPSILON_KEY, CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.convert.convert import Request, convert
from server.kernels.team import Team
from server.model.config import read_config, tensor_shapes
from server.model.initial_state import initial_state
from server.model.initialize import design
from server.model.loading import WeightsCache, choose_dtype, layout_of, load_weights, storages_of
from server.model.open_parts import open_parts
from server.model.packed_config import LAYOUT_REVISION
from server.model.tensors import FIELDS
from tests.model.random_models import load_model, random_tensors, write_model
from tests.model.reading import PROMPT, read

DTYPES = ["float32", "bfloat16", "int8", "int4"]
GENERATIONS = list(FIELDS)


def pack(source, destination, dtype="auto"):
    convert(Request(str(source), destination, dtype), 1, lambda *_: None)
    return destination


def load(path, dtype="auto", cache=None):
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    dtype = choose_dtype(dtype, config)
    return load_weights(checkpoint, config, dtype, Team(1), cache, lambda *_: None)


def bytes_of(weights):
    arrays = [part if isinstance(part, tuple) else (part,) for part in weights]
    return [(type(p).__name__, a.dtype, a.shape, a.tobytes())
            for p, group in zip(weights, arrays, strict=True) for a in group]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return write_model(path, random_tensors(layers=2), "bfloat16")


@pytest.fixture(scope="module")
def packed(model):
    return pack(model, model.with_suffix(".packed"), "int8")


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_it_holds_what_packing_at_load_makes(tmp_path, generation, dtype, stored):
    tensors = random_tensors(layers=2, generation=generation)
    source = write_model(tmp_path / "m.safetensors", tensors, stored)
    packed = pack(source, tmp_path / "m.packed", dtype)
    assert bytes_of(load(packed)) == bytes_of(load(source, dtype))
    config = read_config(open_checkpoint(packed))
    assert config == replace(read_config(open_checkpoint(source)), packed_as=dtype)


def test_float16_matrices_stay_float16(tmp_path):
    stored = {n: ("float16", v.astype(np.float16)) for n, v in random_tensors(layers=1).items()}
    write_safetensors(tmp_path / "m.st", stored)
    packed = pack(tmp_path / "m.st", tmp_path / "m.packed", "bfloat16")
    assert open_checkpoint(packed).tensors["head.codes"].dtype == "int16"
    assert bytes_of(load(packed)) == bytes_of(load(tmp_path / "m.st", "bfloat16"))


@pytest.mark.parametrize(("generation", "dtype"), [("rwkv7", "int8"), ("rwkv4", "float32")])
def test_its_logits_are_the_models(tmp_path, generation, dtype):
    source = write_model(tmp_path / "m.safetensors", random_tensors(generation=generation))
    packed = pack(source, tmp_path / "m.packed", dtype)
    expected, _ = read(load_model(source, dtype), [PROMPT])
    logits, _ = read(load_model(packed, dtype), [PROMPT])
    assert logits.tobytes() == expected.tobytes()


def test_it_needs_no_cache(packed, tmp_path):
    load(packed, cache=WeightsCache(tmp_path / "cache", 1 << 30))
    assert not (tmp_path / "cache").exists()


def test_an_epsilon_and_a_tuned_state_travel_along(tmp_path):
    tensors = {n: ("float32", v) for n, v in random_tensors(generation="rwkv5.2").items()}
    rng = np.random.default_rng(3)
    for layer in range(3):
        values = rng.standard_normal((3, 20, 20), np.float32)
        tensors[f"blocks.{layer}.att.time_state"] = ("float32", values)
    source = tmp_path / "m.safetensors"
    write_safetensors(source, tensors, {EPSILON_KEY: "1e-05"})
    found = open_checkpoint(pack(source, tmp_path / "m.packed", "int8"))
    config = read_config(found)
    assert config.group_norm_epsilon == 1e-5
    assert load(found.path).group_norm_epsilon[0, 0] == np.float32(1e-5)
    tuned = open_checkpoint(source)
    expected = initial_state(read_config(tuned), source, tuned.tensors)
    state = initial_state(config, found.path, found.tensors)
    assert state["wkv"].any()
    assert all(state[name].tobytes() == expected[name].tobytes() for name in expected)


def test_dtypes(packed):
    config = read_config(open_checkpoint(packed))
    assert choose_dtype("auto", config) == "int8"
    with pytest.raises(CheckpointError, match=r"m.*packed: packed as int8, not int4: leave out"):
        load(packed, "int4")


ADAPTERS = {
    "lora.st:8": ("blocks.0.att.key.lora_A", "blocks.0.att.key.lora_B"),
    "whole.st": ("blocks.0.att.key.weight",),
    "state.st": ("blocks.0.att.time_state",),
    "other.st": ("model.layers.0.self_attn.q_proj.lora_A.weight",),
    "missing.st:3": None,
}


@pytest.mark.parametrize("text", ADAPTERS)
def test_adapters_are_refused(packed, tmp_path, text):
    """Whatever they are: what they would change is not in the file any more."""
    if names := ADAPTERS[text]:
        write_model(
            tmp_path / text.partition(":")[0], {name: np.ones((4, 4), "f4") for name in names}
        )
    with pytest.raises(CheckpointError, match=r"packed: a packed model takes no adapter .*convert"):
        open_parts(packed, [str(tmp_path / text)], {})


# Whoever changes the packed arrays raises LAYOUT_REVISION, or old files are read wrongly.
PINNED = {
    1: {
        "rwkv4": "3ab4454b9803e719",
        "rwkv5.0": "65e9e2b2b8338b6d",
        "rwkv5.1": "6828e61b75f39a81",
        "rwkv5.2": "eafd1dd4651f0709",
        "rwkv6": "a22c6acf9a5c8ac3",
        "rwkv7": "7a1f8aaf09328d35",
        "rwkv7a": "ce51f3592d6c90a2",
    },
}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_revision_has_its_bytes(tmp_path, generation):
    """Values that no library draws or computes, so that they are the same everywhere."""
    config = design(generation, 2, 40, 37, 20)
    tensors = {}
    for name, shape in tensor_shapes(config).items():
        # By the name: an order of tensors that changes must change the bytes.
        steps = (np.arange(np.prod(shape, dtype=int)) * 7919 + zlib.crc32(name.encode())) % 2001
        tensors[name] = ((steps - 1000) / 1024).astype(np.float32).reshape(shape)
    source = write_model(tmp_path / "m.safetensors", tensors)
    digest = hashlib.sha256()
    for dtype in DTYPES:
        checkpoint = open_checkpoint(source)
        found = read_config(checkpoint)
        layout = layout_of(storages_of(checkpoint, found, dtype))
        digest.update(json.dumps(list(layout.items())).encode())
        for _, _, _, data in bytes_of(load(source, dtype)):
            digest.update(data)
    assert digest.hexdigest()[:16] == PINNED[LAYOUT_REVISION][generation]


def parts(path):
    """(header, data) of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(path, header, data, align=64):
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % align)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def assert_one_line(path, match):
    """Loading is refused, and nothing large is allocated before."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=match) as refusal:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9999])
def test_a_flipped_bit_is_found(packed, tmp_path, place):
    data = bytearray(packed.read_bytes())
    data[int(len(data) * place)] ^= 4
    (tmp_path / "m.packed").write_bytes(data)
    assert_one_line(tmp_path / "m.packed", "checksum differs")


@pytest.mark.parametrize("place", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(packed, tmp_path, place):
    data = packed.read_bytes()
    (tmp_path / "m.packed").write_bytes(data[: int(len(data) * place)])
    assert_one_line(tmp_path / "m.packed", "truncated|past the end")


LIES = [
    ({"layers": 9999}, "receptance.codes is of shape"),
    ({"layers": 10**9}, "config: Expected `int` <= 9999"),
    ({"layers": 0}, "config: Expected `int` >= 1"),
    ({"dim": 1 << 20, "heads": 1, "head_size": 1 << 20}, "embedding is of shape"),
    ({"dim": "60"}, "config: Expected `int`, got `str`"),
    ({"dim": True}, "config: Expected `int`"),
    ({"heads": 4}, "4 heads of 20 do not make dimension 60"),
    ({"heads": 0, "head_size": 0}, "0 heads of 0"),
    ({"vocab_size": 65536}, "embedding is of shape"),
    ({"ffn_dim": 1 << 24}, "channel_key.codes"),
    ({"generation": "rwkv9"}, "generation rwkv9 is not known"),
    ({"generation": "rwkv6"}, "ranks are not decay, mix"),
    ({"generation": "rwkv4", "ranks": {}}, "3 heads of 20"),
    ({"ranks": {}}, "ranks are not decay, first, gate, rate"),
    ({"ranks": {"decay": 1 << 24, "rate": 32, "first": 32, "gate": 32}}, "decay_down.codes"),
    ({"ranks": {"decay": 1 << 40, "rate": 32, "first": 32, "gate": 32}}, "config: Expected"),
    ({"group_norm_epsilon": 0}, "config: Expected `float` > 0"),
    ({"packed_as": "int2"}, "config: Invalid enum value"),
    ({"more": 1}, "config: Object contains unknown field"),
]


@pytest.mark.parametrize(("lie", "message"), LIES)
def test_a_lying_config_is_refused(packed, tmp_path, lie, message):
    header, data = parts(packed)
    config = json.loads(header["__metadata__"]["config"])
    header["__metadata__"]["config"] = json.dumps(config | lie)
    assert_one_line(with_header(tmp_path / "m.packed", header, data), message)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "9" * 5000, "[" * 10_000])
def test_a_config_that_is_none_is_refused(packed, tmp_path, text):
    header, data = parts(packed)
    header["__metadata__"]["config"] = text
    assert_one_line(with_header(tmp_path / "m.packed", header, data), "config: ")


def test_another_revision_is_refused(packed, tmp_path):
    header, data = parts(packed)
    header["__metadata__"]["revision"] = str(LAYOUT_REVISION + 1)
    path = with_header(tmp_path / "m.packed", header, data)
    assert_one_line(path, r"revision 2, this version reads 1: convert the model again")
    del header["__metadata__"]["revision"]
    assert_one_line(with_header(path, header, data), "revision none")


@pytest.mark.parametrize("name", ["embedding", "receptance.codes", "head.scales", "mix",
                                  "decay_up.codes", "checksums"])  # fmt: skip
def test_arrays_are_all_there_and_as_expected(packed, tmp_path, name):
    header, data = parts(packed)
    entry = header.pop(name)
    path = with_header(tmp_path / "m.packed", header, data)
    why = "is uint8" if name == "head.scales" else "is missing"  # codes without them are no floats
    assert_one_line(path, rf"array {name.split('.')[0]}.* {why}")
    header[name] = entry | {"shape": [*entry["shape"], 1]}
    assert_one_line(with_header(path, header, data), f"array {name.split('.')[0]}.* is ")


def test_foreign_arrays_and_shifted_ones_are_refused(packed, tmp_path):
    header, data = parts(packed)
    path, size = tmp_path / "m.packed", len(data)
    extra = {"dtype": "F32", "shape": [1], "data_offsets": [size, size + 4]}
    with_header(path, header | {"extra": extra}, data + bytes(4))
    assert_one_line(path, "array extra is not part of such a model")
    with_header(path, header, data, align=8 * 7)  # off the boundaries that kernels count on
    assert_one_line(path, "begins at byte")


def test_it_cannot_be_converted(packed, tmp_path):
    with pytest.raises(CheckpointError, match="packed model cannot be converted"):
        convert(Request(str(packed), tmp_path / "x.safetensors"), 1, lambda *_: None)


def test_the_metadata_are_the_config(packed, model):
    header, _ = parts(packed)
    config = read_config(open_checkpoint(model))
    expected = asdict(replace(config, packed_as="int8"))
    assert json.loads(header["__metadata__"]["config"]) == expected
    assert header["__metadata__"]["format"] == "rwkv-server packed"
    assert header["__metadata__"]["name"] == "model"
