"""GGUF files made by hand, so that they can lie."""

import struct

import numpy as np

U8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10
_CODES = {U8: "<B", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}


def text(value):
    """Length and bytes."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def packed(kind, value):
    """One value without its type."""
    return text(value) if kind == STRING else struct.pack(_CODES[kind], value)


def entry(key, kind, value, element=None):
    """One key of the metadata; `element` is the type of an array's values."""
    start = text(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return start + packed(kind, value)
    return (
        start
        + struct.pack("<IQ", element, len(value))
        + b"".join(packed(element, item) for item in value)
    )


def info(name="output_norm.weight", shape=(4,), kind=0, offset=0):
    """One tensor of the list; the shape in NumPy's order."""
    sizes = struct.pack(f"<{len(shape)}Q", *shape[::-1])
    return text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


def gguf(entries, infos=(), data=b"", counts=None, version=3, magic=b"GGUF", alignment=32):
    """A whole file."""
    counts = counts or (len(infos), len(entries))
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join([*entries, *infos])
    return head + bytes(-len(head) % alignment) + data


RWKV7 = entry("general.architecture", STRING, "rwkv7")
HEADS = entry("rwkv7.wkv.head_size", U32, 4)
ROW = np.arange(4, dtype=np.float32).tobytes()


def vocabulary(tokens, types=None, kind="rwkv"):
    """The metadata of a file with a vocabulary."""
    found = [RWKV7, entry("tokenizer.ggml.model", STRING, kind)]
    found.append(entry("tokenizer.ggml.tokens", ARRAY, tokens, STRING))
    if types is not None:
        found.append(entry("tokenizer.ggml.token_type", ARRAY, types, I32))
    return found
