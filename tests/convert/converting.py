"""Converting in this process, and looking at what came of it."""

import numpy as np

from server.checkpoints.checkpoint import float32_to_bfloat16
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.convert.convert import Request, convert


def run(source, destination, dtype="auto", **options):
    """The lines that say what was done."""
    return convert(Request(str(source), destination, dtype, **options), 1, lambda *_: None)


def values_of(path):
    """Name → float32 array."""
    return {n: tensor.to_float32() for n, tensor in open_checkpoint(path).tensors.items()}


def dtypes_of(path):
    return {name: tensor.dtype for name, tensor in open_checkpoint(path).tensors.items()}


def write_stored(path, tensors, dtype, metadata=None):
    """Write all tensors, rounded to a dtype; returns the path."""
    stored = {}
    for name, values in tensors.items():
        kinds = {"float16": values.astype(np.float16), "float32": values}
        bits = float32_to_bfloat16(values) if dtype == "bfloat16" else kinds[dtype]
        stored[name] = (dtype, bits)
    write_safetensors(path, stored, metadata or {})
    return path


def assert_same(found, expected):
    """The same tensors with the same bits, whatever form rows have."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].reshape(-1).tobytes() == values.reshape(-1).tobytes(), name
