"""Reading PyTorch's .pth without PyTorch: a zip of one pickle and stored (uncompressed) records."""

import mmap
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path

from server.checkpoints.checkpoint import (
    NUMPY_DTYPES,
    Checkpoint,
    CheckpointError,
    Tensor,
    check_shape,
    map_file,
    view_tensor,
)
from server.checkpoints.foreign_files import describe_zip
from server.checkpoints.state_dict_pickle import (
    MAX_PICKLE_BYTES,
    PickleError,
    TensorReference,
    read_state_dict,
)
from server.regular_file import open_regular

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra
_ENCRYPTED = 1
MAX_SHARING = 2
"""Tensors may have this many times the bytes of their file: tied weights share a storage. More
would let a small file fill the memory when it is loaded."""


def read_pth(path: Path) -> Checkpoint:
    """Map a PyTorch checkpoint. Raises CheckpointError for anything but a plain state dict."""
    mapped = map_file(path)
    entries, prefix = _read_directory(path)
    order = entries.get(prefix + "byteorder")
    if order is not None and _record(path, mapped, order, limit=16) != b"little":
        raise CheckpointError(f"{path}: the tensors are big-endian; save them as little-endian")
    pickle = _record(path, mapped, entries[prefix + "data.pkl"], limit=MAX_PICKLE_BYTES)
    try:
        references, metadata = read_state_dict(pickle)
    except PickleError as error:
        raise CheckpointError(f"{path}: {error}") from None
    tensors, room = {}, MAX_SHARING * len(mapped)
    for name, reference in references.items():
        tensors[name] = _view(path, mapped, entries, prefix, name, reference)
        room -= tensors[name].nbytes
        if room < 0:
            raise CheckpointError(
                f"{path}: tensor {name[:120]}: it and those before it have more than {MAX_SHARING} "
                "times the bytes of the file, since they share storages; save clones of them"
            )
    return Checkpoint(path, metadata, tensors)


def _read_directory(path: Path) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """The zip's central directory by name, and the prefix that all of the archive's names have."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise CheckpointError(f"{path}: broken or truncated zip: {error}") from None
    except (struct.error, zlib.error, EOFError, OSError):
        raise CheckpointError(f"{path}: broken or truncated zip") from None
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise CheckpointError(f"{path}: the zip has two records of one name")
    pickles = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
    if len(pickles) != 1:
        what = describe_zip(entries)
        raise CheckpointError(f"{path}: a zip, but not a PyTorch checkpoint (no data.pkl): {what}")
    if what := describe_zip(entries):
        raise CheckpointError(f"{path}: a zip, but not a PyTorch checkpoint: {what}")
    return entries, pickles[0].removesuffix("data.pkl")


def _span(path: Path, mapped: mmap.mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a record's bytes begin and end in the file."""
    what = f"{path}: record {info.filename[:80]}"
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise CheckpointError(f"{what} is compressed, which PyTorch never does")
    if info.flag_bits & _ENCRYPTED:
        raise CheckpointError(f"{what} is encrypted")
    header = info.header_offset
    if not 0 <= header <= len(mapped) - _LOCAL_HEADER.size:
        raise CheckpointError(f"{what} lies outside of the file")
    signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(mapped, header)
    if signature != b"PK\x03\x04":
        raise CheckpointError(f"{what} has no local header")
    begin = header + _LOCAL_HEADER.size + name_length + extra_length
    if begin + info.file_size > len(mapped):
        raise CheckpointError(f"{what} reaches past the end of the file")
    return begin, begin + info.file_size


def _record(path: Path, mapped: mmap.mmap, info: zipfile.ZipInfo, limit: int) -> bytes:
    begin, end = _span(path, mapped, info)
    if end - begin > limit:
        raise CheckpointError(f"{path}: record {info.filename[:80]} is too large")
    return mapped[begin:end]


def _view(
    path: Path,
    mapped: mmap.mmap,
    entries: dict[str, zipfile.ZipInfo],
    prefix: str,
    name: str,
    reference: TensorReference,
) -> Tensor:
    what = f"{path}: tensor {name[:120]}"
    info = entries.get(f"{prefix}data/{reference.storage.key}")
    if info is None:
        raise CheckpointError(f"{what}: its storage is missing from the file")
    begin, end = _span(path, mapped, info)
    shape, offset = check_shape(reference.shape), reference.offset
    if shape is None or type(offset) is not int or offset < 0:
        raise CheckpointError(f"{what}: its shape or offset is not valid")
    if not _is_contiguous(shape, reference.strides):
        raise CheckpointError(f"{what}: it is a transposed or strided view; save a contiguous copy")
    itemsize = NUMPY_DTYPES[reference.dtype].itemsize
    if begin + (offset + prod(shape)) * itemsize > end:
        raise CheckpointError(f"{what}: reaches past the end of its storage")
    try:
        return view_tensor(mapped, name, reference.dtype, shape, begin + offset * itemsize)
    except (ValueError, MemoryError):  # an empty tensor of dimensions beyond NumPy's
        raise CheckpointError(f"{what}: impossible shape {list(shape)}") from None


def _is_contiguous(shape: tuple[int, ...], strides: tuple[object, ...]) -> bool:
    if len(strides) != len(shape):
        return False
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:  # the stride of a single element is arbitrary
            return prod(shape) == 0
        expected *= size
    return True
