"""PyTorch's format without PyTorch: real layouts are read, hostile ones are refused."""

import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.checkpoints.checkpoint import CheckpointError, float32_to_bfloat16
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.state_dict_pickle import PickleError, read_state_dict
from server.checkpoints.writer import write_safetensors
from tests.checkpoints.torch_files import (
    Call,
    Global,
    dumps,
    ordered,
    tensor,
    write_archive,
    write_pth,
)

VALUES = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
TENSORS = {
    "blocks.0.a": ("float32", VALUES),
    "b": ("bfloat16", float32_to_bfloat16(VALUES[0])),
    "c": ("float16", VALUES.astype(np.float16).reshape(2, 1, 6)),
}


def assert_refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as error:
        open_checkpoint(path)
    assert str(error.value).isprintable()
    assert path.name in str(error.value)


def test_same_as_safetensors(tmp_path):
    pth = open_checkpoint(write_pth(tmp_path / "model.bin", TENSORS))
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    oracle = open_checkpoint(tmp_path / "model.safetensors")
    assert list(pth.tensors) == list(TENSORS)
    for name, expected in oracle.tensors.items():
        found = pth.tensors[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found.data, expected.data)
        np.testing.assert_array_equal(found.to_float32(), expected.to_float32())


def test_shared_storage_offsets_parameters_and_attributes(tmp_path):
    parameter = Call(
        Global("torch._utils", "_rebuild_parameter"), tensor("float32", "0", (12,)), True, ordered()
    )
    state = ordered(
        [
            ("whole", parameter),
            ("tied", tensor("float32", "0", (12,))),
            ("row", tensor("float32", "0", (4,), 12, offset=8)),
            ("ones", tensor("float32", "0", (1, 4, 1), 12, strides=(99, 1, 7))),
        ]
    )
    # state_dict() carries an attribute, _metadata: opcode BUILD, before STOP.
    data = dumps(state)[:-1] + dumps({"_metadata": {"": {"version": 1}}})[2:-1] + b"b."
    found = open_checkpoint(write_archive(tmp_path / "m.pth", data, {"0": VALUES.tobytes()}))
    np.testing.assert_array_equal(found.tensors["whole"].data, VALUES.ravel())
    np.testing.assert_array_equal(found.tensors["tied"].data, VALUES.ravel())
    np.testing.assert_array_equal(found.tensors["row"].data, VALUES[2])
    assert found.tensors["ones"].shape == (1, 4, 1)


def test_untyped_storage(tmp_path):
    storage = tensor("float32", "0", (2, 3)).arguments[0]
    storage.ident = ("storage", Global("torch.storage", "UntypedStorage"), "0", "cpu", 12)
    call = Call(
        Global("torch._utils", "_rebuild_tensor_v3"),
        *(storage, 0, (2, 3), (3, 1), False, ordered(), Global("torch", "uint16"), None),
    )
    numbers = np.arange(6, dtype=np.uint16)
    path = write_archive(tmp_path / "m.pth", dumps(ordered([("a", call)])), {"0": bytes(numbers)})
    found = open_checkpoint(path).tensors["a"]
    assert found.dtype == "uint16"
    np.testing.assert_array_equal(found.data, numbers.reshape(2, 3))


class Attack:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('/tmp/attacked').touch()",)


HOSTILE = {
    "system": b"cos\nsystem\n(S'true'\ntR.",
    "system 2": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "eval": pickle.dumps(Attack()),
    "torch.load": dumps(Call(Global("torch", "load"), "x")),
    "builtins": dumps(ordered([("a", Global("builtins", "exec"))])),
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x12FloatStorage.__x__\x93.",
    "instance": b"(ios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "memo bomb": b"\x80\x02}r\xff\xff\xff\xff.",
    "memo text": b"\x80\x02}p4294967295\n.",
    "length bomb": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "string bomb": b"\x80\x04X\xff\xff\xff\x7fab.",
    "nested keys": b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.",
    "nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "self": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "no stop": b"\x80\x02}",
    "no stack": b"\x80\x02s.",
    "no mark": b"\x80\x02}u.",
    "odd items": b"\x80\x02}(Nu.",
    "no memo": b"\x80\x02h\x07.",
    "call nothing": b"\x80\x02)NR.",
    "call dict": b"\x80\x02})R.",
    "not a dict": b"\x80\x02].",
    "empty": b"",
    "garbage": bytes(range(256)),
    "bad text": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "storage": dumps(ordered([("a", tensor("float32", "0", (2,)).arguments[0])])),
    "number": dumps(ordered([("epoch", 3)])),
    "key": dumps(ordered([(3, tensor("float32", "0", (2,)))])),
    "training checkpoint": dumps({"model": {"a": tensor("float32", "0", (2,))}}),
    "too large": bytes(5 << 20),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused(tmp_path, data):
    assert_refused(write_archive(tmp_path / "bad.pth", data, {"0": bytes(64)}))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_random_pickles_never_crash(data):
    content = bytearray(dumps(ordered([("a", tensor("float32", "0", (2, 3)))])))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(PickleError):
        read_state_dict(bytes(content))


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (tensor("float32", "0", (13,)), "past the end"),
        (tensor("float32", "0", (4,), offset=9), "past the end"),
        (tensor("float32", "0", (4,), offset=-4), "not valid"),
        (tensor("float32", "0", (4,), offset=2**70), "past the end"),
        (tensor("float32", "0", (2**40, 2**40), strides=(2**40, 1)), "past the end"),
        (tensor("float32", "0", (-1,)), "not valid"),
        (tensor("float32", "0", ("x",), count=1, strides=(1,)), "not valid"),
        (tensor("float32", "0", (3, 4), strides=(1, 3)), "contiguous"),
        (tensor("float32", "0", (3, 4), strides=(0, 0)), "contiguous"),
        (tensor("float32", "0", (3, 4), strides=(1,)), "contiguous"),
        (tensor("float32", "7", (12,)), "missing"),
        (tensor("float32", "../version", (1,)), "missing"),
    ],
)
def test_lying_tensors_are_refused(tmp_path, lie, match):
    data = dumps(ordered([("a", lie)]))
    assert_refused(write_archive(tmp_path / "bad.pth", data, {"0": VALUES.tobytes()}), match)


def test_odd_archives_are_refused(tmp_path):
    path = tmp_path / "bad.pth"
    assert_refused(write_pth(path, TENSORS, compression=zipfile.ZIP_DEFLATED), "compressed")
    assert_refused(write_pth(path, TENSORS, order=b"big"), "big-endian")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    assert_refused(path, "no data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", "x")
        archive.writestr("b/data.pkl", "x")
    assert_refused(path)


def test_directory_that_lies_about_places(tmp_path):
    data = bytearray(write_pth(tmp_path / "m.pth", TENSORS).read_bytes())
    central = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 4) + 4)
    path = tmp_path / "bad.pth"
    for offset in (42, 2**31, 2**32 - 2):
        struct.pack_into("<I", data, central + 42, offset)
        path.write_bytes(data)
        assert_refused(path)
    struct.pack_into("<I", data, central + 42, 0)
    struct.pack_into("<II", data, central + 20, 2**31, 2**31)
    path.write_bytes(data)
    assert_refused(path)


def test_every_truncation_is_refused(tmp_path):
    data = write_pth(tmp_path / "whole.pth", TENSORS).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        assert_refused(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_flipped_bytes_never_crash(tmp_path, data):
    content = bytearray(write_pth(tmp_path / "whole.pth", TENSORS).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.pth"
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        for found in open_checkpoint(path).tensors.values():
            found.to_float32()
