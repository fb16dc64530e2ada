"""Tensors of a .pth that share bytes: tied weights are read, what would fill the memory is not."""

import struct
import zipfile

import numpy as np
import pytest

from server.checkpoints import pth
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.state_dict_pickle import MAX_TENSORS
from tests.checkpoints.torch_files import dumps, ordered, tensor, write_archive

ROWS = 4096
CONTENT = np.arange(ROWS, dtype=np.float32).tobytes()


def write(path, *tensors, records=None):
    named = [(f"blocks.{number}.x", each) for number, each in enumerate(tensors)]
    return write_archive(path, dumps(ordered(named)), records or {"0": CONTENT})


def whole(shape=(ROWS,), **fields):
    return tensor("float32", "0", shape, ROWS, **fields)


def test_tied_weights_are_read(tmp_path):
    found = open_checkpoint(write(tmp_path / "m.pth", whole(), whole((64, 64)))).tensors
    assert [each.nbytes for each in found.values()] == [len(CONTENT)] * 2


def test_pieces_of_one_storage_are_read(tmp_path):
    pieces = [whole((ROWS // 64,), offset=64 * number) for number in range(64)]
    found = open_checkpoint(write(tmp_path / "m.pth", *pieces)).tensors
    assert sum(each.nbytes for each in found.values()) == len(CONTENT)


SHARED = {
    "again and again": [whole()] * 2000,
    "in other shapes": [whole(), whole((64, 64)), whole((1, ROWS)), whole((ROWS, 1))],
    "overlapping": [whole((ROWS - number,), offset=number) for number in range(64)],
    "in other types": [whole(), *[tensor("float16", "0", (2 * ROWS,), 2 * ROWS)] * 9],
}


@pytest.mark.parametrize("name", SHARED)
def test_more_than_the_file_could_hold_is_refused(tmp_path, name):
    path = write(tmp_path / "m.pth", *SHARED[name])
    with pytest.raises(CheckpointError, match=r"m\.pth: tensor blocks\.\d+\.x: .*clones"):
        open_checkpoint(path)


@pytest.mark.parametrize("strides", [(0,), (0, 1), (1, 0), (0, 0), (1, 1), (-1,), (2,)])
def test_strides_that_repeat_elements_are_refused(tmp_path, strides):
    shape = (1 << 20,) * len(strides)
    path = write(tmp_path / "m.pth", whole(shape, strides=strides))
    with pytest.raises(CheckpointError, match=r"m\.pth: tensor blocks\.0\.x"):
        open_checkpoint(path)


def test_records_that_are_the_same_bytes_of_the_file_are_refused(tmp_path):
    """A zip may list one place under many names."""
    path = tmp_path / "m.pth"
    count = 200
    state = ordered([(f"x{i}", tensor("float32", str(i), (ROWS,))) for i in range(count)])
    write_archive(path, dumps(state), {"0": CONTENT})
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("model/data/0")
        for number in range(1, count):
            info = zipfile.ZipInfo(f"model/data/{number}")
            archive.writestr(info, b"")
            info.header_offset = first.header_offset
            info.file_size = info.compress_size = first.file_size
            info.CRC = first.CRC
    with pytest.raises(CheckpointError, match=r"share storages|zip"):
        open_checkpoint(path)


def test_compressed_records_are_refused(tmp_path):
    path = write_archive(
        tmp_path / "m.pth",
        dumps(ordered([("a", whole())])),
        {"0": bytes(len(CONTENT))},
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(CheckpointError, match=r"record .* is compressed"):
        open_checkpoint(path)


def test_too_many_names_of_one_tensor_are_refused(tmp_path):
    """Each is nothing, but is an object in memory."""
    names = [b"X" + struct.pack("<I", 6) + b"%06d" % number for number in range(MAX_TENSORS + 1)]
    shared = dumps(tensor("float32", "0", (0,), ROWS))[2:-1]
    data = b"\x80\x02}(" + names[0] + shared + b"r\0\1\0\0"
    data += b"".join(name + b"j\0\1\0\0" for name in names[1:]) + b"u."
    assert len(data) < pth.MAX_PICKLE_BYTES
    path = write_archive(tmp_path / "m.pth", data, {"0": CONTENT})
    with pytest.raises(CheckpointError, match=f"{MAX_TENSORS + 1} tensors"):
        open_checkpoint(path)
