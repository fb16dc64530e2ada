"""Reading GGUF: layouts, hostile headers, vocabularies and templates inside."""

import contextlib

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_header import is_gguf, read_gguf_header
from server.checkpoints.gguf_vocabulary import read_gguf_vocabulary
from server.checkpoints.gguf_writer import write_gguf
from server.checkpoints.reader import open_checkpoint
from tests.checkpoints.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    HEADS,
    I32,
    ROW,
    RWKV7,
    STRING,
    U8,
    U32,
    U64,
    entry,
    gguf,
    info,
    text,
    vocabulary,
)
from tests.checkpoints.official_models import checkpoint_of, random_model
from tests.checkpoints.refusals import assert_refused, read_all


def write(path, *parts, **more):
    path.write_bytes(gguf(*parts, **more))
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_header(tmp_path, version):
    entries = [
        RWKV7,
        entry("a", U8, 200),
        entry("b", I32, -5),
        entry("c", F32, 0.5),
        entry("d", BOOL, 1),
        entry("e", U64, 2**63),
        entry("f", STRING, "é"),
        entry("g", ARRAY, [1, 2, 3], U32),
        entry("h", ARRAY, [b"\xff", b""], STRING),
        entry("i", ARRAY, [], U32),
        entry("general.alignment", U32, 64),
    ]
    infos = [info(offset=64), info("token_embd.weight", (1, 2, 2), 1)]
    data = ROW + bytes(48) + ROW
    path = write(tmp_path / "m.gguf", entries, infos, data, version=version, alignment=64)
    header = read_gguf_header(path)
    found = header.metadata
    assert [found[key] for key in "abcdef"] == [200, -5, 0.5, True, 2**63, "é"]
    assert found["d"] is True
    assert found["g"].tolist() == [1, 2, 3]
    assert found["h"] == [b"\xff", b""]
    assert found["i"].tolist() == []
    assert header.text("f") == "é"
    assert header.count("a") == 200
    assert header.text("none") is header.count("none") is None
    for key in "bcdfg":
        with pytest.raises(CheckpointError, match="not a non-negative integer"):
            header.count(key)
    with pytest.raises(CheckpointError, match="not a string"):
        header.text("a")
    tensors = open_checkpoint(path).tensors
    assert tensors["emb.weight"].shape == (1, 2, 2)
    assert tensors["emb.weight"].dtype == "float16"
    np.testing.assert_array_equal(tensors["ln_out.weight"].to_float32(), [0, 1, 2, 3])


def test_is_gguf(tmp_path):
    assert is_gguf(write(tmp_path / "m.gguf", [RWKV7]))
    assert not is_gguf(tmp_path)
    assert not is_gguf(tmp_path / "missing")


def test_stored_layouts_become_official(tmp_path):
    """By hand, as llama.cpp's converter writes them."""
    names = ["token_embd_norm.bias", "blk.0.time_mix_w1.weight", "blk.1.time_mix_r_k.weight"]
    names += ["blk.1.time_mix_lerp_fused.weight", "blk.0.time_mix_v0.weight"]
    shapes = [(4,), (2, 4), (4,), (6, 1, 1, 4), (4,)]
    arrays = [np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
    infos = [info(n, s, offset=128 * i) for i, (n, s) in enumerate(zip(names, shapes, strict=True))]
    data = b"".join(a.tobytes().ljust(128, b"\0") for a in arrays)
    small_heads = entry("rwkv7.wkv.head_size", U32, 2)
    path = write(tmp_path / "m.gguf", [RWKV7, small_heads], infos, data)
    tensors = open_checkpoint(path).tensors
    assert len(tensors) == 3 + 6  # the v0 of layer 0 is a dummy
    np.testing.assert_array_equal(tensors["blocks.0.ln0.bias"].to_float32(), arrays[0])
    np.testing.assert_array_equal(tensors["blocks.0.att.w1"].to_float32(), arrays[1].T)
    np.testing.assert_array_equal(tensors["blocks.1.att.r_k"].to_float32(), [[0, 1], [2, 3]])
    for index, kind in enumerate("rwkvag"):
        mix = tensors[f"blocks.1.att.x_{kind}"]
        assert mix.shape == (1, 1, 4)
        np.testing.assert_array_equal(mix.to_float32().reshape(-1), arrays[3][index, 0, 0])


def test_rwkv6_rescaling_and_separate_mixes(tmp_path):
    entries = [
        entry("general.architecture", STRING, "rwkv6"),
        entry("rwkv6.rescale_every_n_layers", U32, 2),
    ]
    names = [f"blk.{i}.time_mix_output.weight" for i in range(6)]
    names += ["blk.5.channel_mix_value.weight", "blk.5.time_mix_key.weight"]
    names += ["blk.0.time_mix_lerp_w.weight"]
    infos = [info(name, (1, 4), offset=32 * i) for i, name in enumerate(names)]
    path = write(tmp_path / "m.gguf", entries, infos, (ROW + bytes(16)) * len(names))
    tensors = open_checkpoint(path).tensors
    scales = [tensors[f"blocks.{i}.att.output.weight"].to_float32()[0, 1] for i in range(6)]
    assert scales == [1, 1, 2, 2, 4, 4]
    assert tensors["blocks.5.ffn.value.weight"].to_float32()[0, 1] == 4
    assert tensors["blocks.5.att.key.weight"].to_float32()[0, 1] == 1
    assert tensors["blocks.0.att.time_maa_w"].shape == (1, 1, 4)


def test_layouts_of_rwkv6_by_hand(tmp_path):
    rng = np.random.default_rng(3)
    shapes = {
        "lerp_fused": (5, 1, 1, 8),
        "w1": (5 * 2, 8),
        "w2": (5, 8, 2),
        "decay_w1": (3, 8),
        "decay_w2": (8, 3),
        "decay": (8,),
        "first": (2, 4),
    }
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    infos = [
        info(f"blk.0.time_mix_{name}.weight", array.shape, offset=512 * index)
        for index, (name, array) in enumerate(arrays.items())
    ]
    data = b"".join(array.tobytes().ljust(512, b"\0") for array in arrays.values())
    architecture = entry("general.architecture", STRING, "rwkv6")
    found = open_checkpoint(write(tmp_path / "m.gguf", [architecture], infos, data)).tensors
    expected = {f"time_maa_{kind}": arrays["lerp_fused"][i] for i, kind in enumerate("wkvrg")} | {
        "time_maa_w1": arrays["w1"].T,
        "time_maa_w2": arrays["w2"].transpose(0, 2, 1),
        "time_decay_w1": arrays["decay_w1"].T,
        "time_decay_w2": arrays["decay_w2"].T,
        "time_decay": arrays["decay"].reshape(1, 1, 8),
        "time_faaaa": arrays["first"],
    }
    assert {name.removeprefix("blocks.0.att.") for name in found} == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[f"blocks.0.att.{name}"].to_float32(), array, name)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (gguf([RWKV7], version=1), "version 1, supported are 2 and 3"),
        (gguf([RWKV7], version=3 << 24), "big-endian"),
        (gguf([RWKV7], counts=(2**63, 1)), "too many"),
        (gguf([RWKV7], counts=(0, 2**64 - 1)), "too many"),
        (gguf([RWKV7], counts=(0, 2)), "name of a key|truncated"),
        (gguf([RWKV7], counts=(1, 1)), "name of a tensor|truncated"),
        (gguf([]), "architecture none"),
        (gguf([entry("general.architecture", STRING, "llama")]), "architecture llama"),
        (gguf([entry("general.architecture", STRING, "rwkv6qwen2")]), "QRWKV-6"),
        (gguf([entry("general.architecture", STRING, "arwkv7")]), "ARWKV-7"),
        (gguf([entry("general.architecture", U8, 7)]), "not a string"),
        (gguf([RWKV7, RWKV7]), "occurs twice"),
        (gguf([RWKV7, entry("split.count", U32, 3)]), "split GGUF"),
        (gguf([RWKV7, entry("general.alignment", U32, 0)]), "power of two"),
        (gguf([RWKV7, entry("general.alignment", U32, 48)]), "power of two"),
        (gguf([RWKV7, entry("general.alignment", U32, 2**31)]), "power of two"),
        (gguf([RWKV7, entry("general.alignment", STRING, "32")]), "power of two"),
        (gguf([RWKV7, entry("general.alignment", BOOL, 1)]), "power of two"),
        (gguf([text("k") + (99).to_bytes(4, "little")]), "unknown or nested type 99"),
        (gguf([text("k") + bytes([9, 0, 0, 0, 9, 0, 0, 0]) + b"\xff" * 8]), "nested type 9"),
        (gguf([text("k") + bytes([9, 0, 0, 0, 4, 0, 0, 0]) + b"\xff" * 8]), "truncated"),
        (gguf([text("k") + bytes([9, 0, 0, 0, 8, 0, 0, 0]) + b"\xff" * 8]), "strings are too"),
        (gguf([text("k") + bytes([9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0])]), "truncated"),
        (gguf([text("k") + bytes([8, 0, 0, 0]) + b"\xff" * 8]), "truncated"),
        (gguf([b"\xff" * 8]), "name of a key has"),
        (gguf([text("")]), "0 bytes"),
        (gguf([text("k" * 300)]), "300 bytes"),
        (gguf([text(b"\xff\xfe")]), "not UTF-8"),
        (gguf([RWKV7], [info(name=b"\xff")], ROW), "not UTF-8"),
        (gguf([RWKV7], [info(shape=())], ROW), "0 dimensions"),
        (gguf([RWKV7], [info(shape=(1, 1, 1, 1, 4))], ROW), "5 dimensions"),
        (gguf([RWKV7], [info(shape=(0,))], ROW), "impossible shape"),
        (gguf([RWKV7], [info(shape=(2**64 - 4,))], ROW), "impossible shape"),
        (gguf([RWKV7], [info(shape=(2**47,) * 4)], ROW), "past the end"),
        (gguf([RWKV7], [info(shape=(8,))], ROW), "past the end"),
        (gguf([RWKV7], [info(offset=32)], ROW), "past the end"),
        (gguf([RWKV7], [info(offset=2**64 - 32)], ROW), "past the end"),
        (gguf([RWKV7], [info(offset=1)], ROW), "not a multiple of 32"),
        (gguf([RWKV7], [info(kind=4)], ROW), "number 4 is not supported"),
        (gguf([RWKV7], [info(kind=15)], ROW), "Q8_K is not supported"),
        (gguf([RWKV7], [info(kind=2**32 - 1)], ROW), "not supported"),
        (gguf([RWKV7], [info(kind=8)], ROW), "q8_0 has no rows of 4"),
        (gguf([RWKV7], [info(), info(offset=32)], ROW + bytes(16) + ROW), "occurs twice"),
        (gguf([RWKV7], [info(), info("output_norm.bias")], ROW), "overlaps"),
        (gguf([RWKV7], [info("rope_freqs.weight")], ROW), "is not part of rwkv7"),
        (gguf([RWKV7], [info("blk.0.attn_q.weight")], ROW), "is not part of rwkv7"),
        (gguf([RWKV7], [info("blk.99999.attn_norm.weight")], ROW), "is not part of rwkv7"),
        (gguf([RWKV7], [info("blk.0.time_mix_lerp_fused.weight")], ROW), "expected 6 rows"),
        (gguf([RWKV7], [info("blk.0.time_mix_w1.weight")], ROW), "cannot be transposed"),
        (gguf([RWKV7], [info("blk.0.time_mix_r_k.weight")], ROW), "head_size is missing"),
        (
            gguf(
                [RWKV7, entry("rwkv7.wkv.head_size", U32, 3)],
                [info("blk.0.time_mix_r_k.weight")],
                ROW,
            ),
            "4 values do not make heads of 3",
        ),
        (
            gguf(
                [RWKV7, entry("rwkv7.wkv.head_size", F32, 4)],
                [info("blk.0.time_mix_r_k.weight")],
                ROW,
            ),
            "not a non-negative integer",
        ),
        (gguf([RWKV7, entry("tokenizer.chat_template", U8, 1)]), "not a string"),
    ],
)
def test_lies_are_refused(tmp_path, content, match):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert_refused(path, match)


def test_both_kinds_of_mixes_are_refused(tmp_path):
    names = ["blk.0.time_mix_lerp_fused.weight", "blk.0.time_mix_lerp_w.weight"]
    infos = [info(names[0], (5, 1, 1, 4)), info(names[1], offset=96)]
    path = write(
        tmp_path / "m.gguf", [entry("general.architecture", STRING, "rwkv6")], infos, bytes(112)
    )
    assert_refused(path, "occurs twice")


COUNTS = ("block_count", "embedding_length", "feed_forward_length")


@pytest.mark.parametrize("generation", ["6", "7"])
@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("change", [-1, 1, 7])
def test_a_header_of_another_model_is_refused(tmp_path, generation, key, change):
    """As of a file that lost its last layers, which no tensor tells."""
    path = tmp_path / "m.gguf"
    write_gguf(path, checkpoint_of(path, random_model(generation)), "f32")
    data, name = path.read_bytes(), f"rwkv{generation}.{key}".encode()
    at = data.index(name) + len(name) + 4  # after the type
    number = int.from_bytes(data[at : at + 4], "little")
    path.write_bytes(data[:at] + (number + change).to_bytes(4, "little") + data[at + 4 :])
    said = rf"{key} is {number + change}, but by the tensors it is {number}"
    assert_refused(path, said)


def test_header_size_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("server.checkpoints.gguf_header.MAX_HEADER_BYTES", 100)
    path = write(tmp_path / "m.gguf", [RWKV7, entry("x", STRING, "x" * 200)])
    assert_refused(path, "beyond 100 bytes")


def test_every_truncation_is_refused(tmp_path):
    infos = [info(), info("blk.0.time_mix_r_k.weight", offset=32)]
    whole = gguf([*vocabulary(["a", "b"], [3, 1]), HEADS], infos, ROW + bytes(16) + ROW)
    path = tmp_path / "cut.gguf"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        assert_refused(path)
    path.write_bytes(whole)
    assert set(open_checkpoint(path).tensors) == {"ln_out.weight", "blocks.0.att.r_k"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.gguf"
    tokens = [b"", *(bytes((i,)) for i in range(30))]
    write_gguf(path, checkpoint_of(path, random_model("7")), "q8_0", vocabulary=tokens)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_flipped_bytes_never_crash(tmp_path, whole, data):
    content = bytearray(whole)
    places = st.integers(0, 6000) | st.integers(0, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.gguf"
    path.write_bytes(content)
    read_all(path)
    with contextlib.suppress(CheckpointError):
        assert all(isinstance(token, bytes) for token in read_gguf_vocabulary(path))


def test_the_package_agrees_with_our_parser(tmp_path, whole):
    path = tmp_path / "m.gguf"
    path.write_bytes(whole)
    theirs, ours = GGUFReader(path), read_gguf_header(path)
    assert [(t.name, t.data_offset, t.n_bytes) for t in theirs.tensors] == [
        (t.name, t.offset, t.nbytes) for t in ours.tensors
    ]
    assert [tuple(t.shape.tolist())[::-1] for t in theirs.tensors] == [
        t.shape for t in ours.tensors
    ]
    for key in ("rwkv7.block_count", "rwkv7.attention.layer_norm_epsilon", "general.name"):
        assert ours.metadata[key] == theirs.fields[key].contents()
