"""What files are that are not checkpoints, recognised by how they begin, for error messages.

Nothing here decides what is read: it only describes what nobody reads.
"""

import codecs
import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from server.regular_file import read_regular_text

START_BYTES = 4096
"""How much of a file is looked at."""
SUPPORTED = "supported are safetensors, PyTorch .pth, GGUF and rwkv.cpp .bin"

_UNPACK = "unpack it and name the file inside"
_AGAIN = "download the file itself again"
_CONVERT = f"name the checkpoint that it was made from; {SUPPORTED}"
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "an lz4 archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty zip archive", _AGAIN),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras or TensorFlow weights)", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", _CONVERT),
    (4, b"TFL3", "a TFLite model", _CONVERT),
    (0, b"lmgg", "a ggml file from before GGUF (ggml)", f"convert it again; {SUPPORTED}"),
    (0, b"tjgg", "a ggml file from before GGUF (ggjt)", f"convert it again; {SUPPORTED}"),
    (0, b"algg", "a LoRA of llama.cpp from before GGUF", "name the adapter that it was made from"),
    (0, b"\x47\x6b\x30\x01", "ncnn weights", _CONVERT),
    (0, b"7767517\n", "an ncnn network (.param)", _CONVERT),
    (0, b"7767517\r\n", "an ncnn network (.param)", _CONVERT),
    (0, b"RKNN", "an RKNN model", _CONVERT),
    (0, b"PAR1", "a Parquet file", SUPPORTED),
    (0, b"ARROW1", "an Arrow file", SUPPORTED),
    (0, b"SQLite format 3\x00", "an SQLite database", SUPPORTED),
    (0, b"%PDF-", "a PDF document", SUPPORTED),
    (0, b"\x89PNG\r\n", "a PNG picture", SUPPORTED),
    (0, b"\xff\xd8\xff", "a JPEG picture", SUPPORTED),
    (0, b"\x7fELF", "a program (ELF)", SUPPORTED),
)
_TORCH_BEFORE_1_6 = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # its magic number
_PREFAB = re.compile(rb"[\xa1-\xb7\xbf](\x64info|\x67context)")
"""A map of CBOR whose first key is one of web-rwkv's `Model`."""
_ONNX = re.compile(rb"\x08[\x01-\x14](?:\x12[\x01-\x40][\x20-\x7e]+|\x3a|\x42)", re.DOTALL)
_PAGE = re.compile(r"(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.S)
_TITLE = re.compile(r"<title[^>]*>\s*(.*?)\s*</title", re.S | re.I)
_CODE = re.compile(r"<(?:code|message)>\s*(.*?)\s*</", re.S | re.I)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_JSON_BYTES = 16 << 20


def describe(path: Path, start: bytes) -> str:
    """What a file is whose first START_BYTES these are, and what to do: one line.

    Of JSON and of text more is read if it is short.
    """
    if not start:
        return f"the file is empty; {_AGAIN}"
    for offset, magic, what, todo in _MAGIC:
        if start[offset : offset + len(magic)] == magic:
            return _not_known(what, todo)
    if path.suffix == ".prefab" or _PREFAB.match(start):
        return (
            "a prefab: a model that Ai00 or web-rwkv has loaded, quantised and saved for itself; "
            "use the .st or .pth that it was made of"
        )
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _pickle(start)
    if _ONNX.match(start):
        return _not_known("an ONNX model", _CONVERT)
    text = text_of(start)
    if text is not None:
        return _text(path, text)
    if not any(start):
        return _not_known("only zeros at its beginning (a download that did not end?)", _AGAIN)
    return f"not a known checkpoint format; {SUPPORTED}"


def describe_zip(names: Iterable[str]) -> str:
    """What a zip is that is not a PyTorch checkpoint; empty if it might be one."""
    first = list(islice(names, 4096))
    ends = {name.rsplit("/", 1)[-1] for name in first}
    if "constants.pkl" in ends or any("/code/" in name for name in first):
        return "TorchScript (a compiled program); save the model's state_dict() with torch.save()"
    if "data.pkl" in ends:
        return ""
    if first and all(name.endswith(".npy") for name in first):
        what = "NumPy arrays (.npz)"
    elif "model.weights.h5" in ends:
        what = "a Keras model"
    else:
        inside = ", ".join(name[:60] for name in first[:3])
        more = ", …" if len(first) > 3 else ""
        return f"it holds {inside}{more}; {_UNPACK}" if inside else "it is empty"
    return f"it is {what}; {_CONVERT}"


def text_of(start: bytes) -> str | None:
    """The beginning of a file as text; None for what is none. What is not Unicode is U+FFFD."""
    encoding = next((name for bom, name in _BOMS if start.startswith(bom)), None)
    if encoding is None:
        encoding = _without_mark(start)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:  # a character cut in two by the end is not an error
        text = decoder.decode(start).lstrip("\ufeff")
    except UnicodeDecodeError:
        if encoding != "utf-8" or 0 in start:
            return None
        text = start.decode("ascii", "replace")  # a page may be in GBK, or another old encoding
        is_page = text.lstrip().startswith("<")
        if not is_page and text.count("\ufffd") > len(text) // 4:
            return None
    is_text = all(char.isprintable() or char.isspace() or char == "\x1b" for char in text)
    return text if is_text and text.strip() else None


def web_page_in(text: str) -> str:
    """`a web page (HTML) with the title "…"` if a text is one; else empty."""
    if not _PAGE.match(text[:START_BYTES].lstrip().lower()):
        return ""
    title = _TITLE.search(text[:START_BYTES])
    return "a web page (HTML)" + (f' with the title "{_short(title[1])}"' if title else "")


def _without_mark(start: bytes) -> str:
    """The encoding of a text that begins with an ASCII character."""
    for encoding, zeros in (
        ("utf-32-le", (1, 2, 3)),
        ("utf-32-be", (0, 1, 2)),
        ("utf-16-le", (1,)),
        ("utf-16-be", (0,)),
    ):
        width = 4 if "32" in encoding else 2
        unit = start[:width]
        if len(unit) == width and all((unit[i] == 0) == (i in zeros) for i in range(width)):
            return encoding
    return "utf-8"


def _not_known(what: str, todo: str) -> str:
    return f"{what}, not a known checkpoint format; {todo}"


def _pickle(start: bytes) -> str:
    if start[2:].startswith(_TORCH_BEFORE_1_6):
        return (
            "a pickle of PyTorch before 1.6, which is not supported; load it and torch.save() it "
            "again"
        )
    return _not_known(
        "a pickle of Python objects", "save the model's state_dict() with torch.save()"
    )


def _text(path: Path, text: str) -> str:
    plain = text.lstrip()
    if page := web_page_in(plain):
        return _not_known(page, _AGAIN)
    if plain[0] == "<":
        code = _CODE.search(text)
        if plain.lower().startswith(("<?xml", "<error")) and code:
            return _not_known(f'an error message of a server ("{_short(code[1])}")', _AGAIN)
        return _not_known("an XML file", SUPPORTED)
    if plain[0] in "{[":
        return _json(path, plain)
    if plain.startswith("#!"):
        return _not_known("a script", SUPPORTED)
    first = plain.split("\n", 1)[0]
    return _not_known(f'a text file that begins "{_short(first)}"', _AGAIN)


def _json(path: Path, text: str) -> str:
    found: Any = None
    try:
        found = json.loads(read_regular_text(path, _MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        try:
            found = json.loads(text)  # in another encoding
        except (ValueError, RecursionError):
            return _not_known(f'a text file that begins "{_short(text)}"', SUPPORTED)
    if not isinstance(found, dict):
        return _not_known("a JSON file", SUPPORTED)
    folder = f"name its folder, {path.parent}"
    if "weight_map" in found:
        return _not_known("the index of a model in several files", folder)
    if "peft_type" in found:
        return _not_known(
            "the configuration of an adapter", f"pass its folder as --adapter {path.parent}"
        )
    if "architectures" in found or "model_type" in found:
        return _not_known("the configuration of a model", folder)
    if "added_tokens" in found or "tokenizer_class" in found:
        return _not_known("a tokenizer", f"{folder}, or pass it as --tokenizer")
    for field in ("error", "message", "detail", "errors"):
        if message := found.get(field):
            said = message.get("message", message) if isinstance(message, dict) else message
            return _not_known(f'an error message of a server ("{_short(str(said))}")', _AGAIN)
    return _not_known("a JSON file", SUPPORTED)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:60] + "…"
