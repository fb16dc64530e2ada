"""Writes what torch.save(state_dict) writes, without torch."""

import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

STORAGE_TYPES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}


class Global:
    """Pickled as a reference to `module.name`, whether or not that can be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a call of a global."""

    def __init__(self, function, *arguments, items=()):
        self.function, self.arguments, self.items = function, arguments, items


class Storage:
    """Pickled as a persistent id."""

    def __init__(self, dtype, key, count):
        self.ident = ("storage", Global("torch", STORAGE_TYPES[dtype]), key, "cpu", count)


class Pickler(pickle._Pickler):
    """Python's own pickler, which, unlike the C one, can name globals that do not exist."""

    def persistent_id(self, value):
        return value.ident if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(b"R")
            self._batch_setitems(iter(value.items))
        else:
            super().save(value, save_persistent_id)


def dumps(value) -> bytes:
    buffer = BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tensor(dtype, key, shape, count=None, offset=0, strides=None):
    """A call that rebuilds a tensor over the storage `key`."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    storage = Storage(dtype, key, count or int(np.prod(shape)))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, storage, offset, shape, strides, False, ordered())


def ordered(items=()):
    return Call(Global("collections", "OrderedDict"), items=items)


def write_archive(
    path: Path, data: bytes, records=None, compression=zipfile.ZIP_STORED, order=b"little"
):
    """The zip layout of torch ≥ 1.6."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", data)
        archive.writestr("model/byteorder", order)
        for key, content in (records or {}).items():
            archive.writestr(f"model/data/{key}", content)
        archive.writestr("model/version", b"3\n")
    return path


def write_pth(path: Path, tensors: dict[str, tuple[str, np.ndarray]], **options) -> Path:
    """A checkpoint of name → (dtype, array)."""
    items = [
        (name, tensor(dtype, str(key), array.shape))
        for key, (name, (dtype, array)) in enumerate(tensors.items())
    ]
    records = {str(key): array.tobytes() for key, (_, array) in enumerate(tensors.values())}
    return write_archive(path, dumps(ordered(items)), records, **options)
