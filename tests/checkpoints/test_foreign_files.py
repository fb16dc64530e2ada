"""Files that are not models are named for what they are, in one line that says what to do."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.foreign_files import START_BYTES, describe
from server.checkpoints.json_file import read_json_object
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model.config import read_config
from tests.checkpoints.gguf_files import STRING, entry, gguf
from tests.checkpoints.refusals import assert_refused
from tests.checkpoints.torch_files import Call, Global, dumps, ordered, tensor, write_archive

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
PAGES = (
    "<!DOCTYPE html>\n<html><head><title>\n 404 – Not\n Found </title></head></html>",
    "<!doctype HTML PUBLIC '-//W3C//DTD'><title>404 – Not Found</title>",
    "<HTML lang=en><TITLE>404 – Not Found</TITLE>",
    "\n\n  <!-- a comment\n--><html>\n<title a=b>404 – Not Found</title>",
    "<?xml version='1.0'?>\n<!DOCTYPE html><html><title>404 – Not Found</title>",
    "<head><title>404 – Not Found</title>" + "<p>long</p>" * 5000,
)


@pytest.mark.parametrize("encoding", [*MARKS, "cp1252", "gbk"])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("mark", [True, False])
def test_web_pages_in_any_encoding(tmp_path, encoding, page, mark):
    path = tmp_path / "model.pth"
    path.write_bytes((MARKS.get(encoding, b"") if mark else b"") + page.encode(encoding))
    title = "404 .{1,2} Not Found" if encoding not in MARKS else "404 – Not Found"
    assert_refused(path, f'a web page \\(HTML\\) with the title "{title}".*download the file')


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"error": "Invalid credentials in Authorization header"}, '"Invalid credentials in Auth'),
        ({"error": {"message": "Rate limit", "code": 429}}, 'a server \\("Rate limit"\\)'),
        ({"detail": "Not found"}, 'a server \\("Not found"\\)'),
        ({"errors": [{"code": "DENIED"}]}, "a server .*DENIED"),
        (
            {"metadata": {}, "weight_map": {"emb.weight": "m.st"}},
            "the index of .*its folder, ",
        ),
        ({"architectures": ["Rwkv7ForCausalLM"]}, "the configuration of a model.*name its folder"),
        ({"model_type": "rwkv7"}, "the configuration of a model.*name its folder"),
        ({"peft_type": "LORA"}, "the configuration of an adapter.*--adapter"),
        ({"version": "1.0", "added_tokens": []}, "a tokenizer.*--tokenizer"),
        ({"a": 1}, "a JSON file"),
        ([1, 2], "a JSON file"),
        ({"abcd": {"safetensors": "has a brace there as well"}}, "a JSON file"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json(tmp_path, content, match, encoding):
    path = tmp_path / "model.safetensors"
    path.write_bytes(json.dumps(content, separators=(",", ":")).encode(encoding))
    assert_refused(path, match)


def zipped(**names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


FILES = {
    "a gzip archive.*unpack it": gzip.compress(b"x" * 1000),
    "a bzip2 archive.*unpack it": bz2.compress(b"x" * 1000),
    "an xz archive.*unpack it": lzma.compress(b"x" * 1000),
    "a zstd archive.*unpack it": b"\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc",
    "a 7z archive.*unpack it": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40),
    "a rar archive.*unpack it": b"Rar!\x1a\x07\x01\x00" + bytes(40),
    "a tar archive.*unpack it": tarred(),
    "an empty zip archive": zipped(),
    r"it holds model\.pth, readme; unpack it": zipped(**{"model.pth": b"x", "readme": b"y"}),
    r"NumPy arrays \(\.npz\)": npz(),
    "a Keras model": zipped(**{"config.json": b"{}", "model.weights.h5": b""}),
    "TorchScript.*state_dict": zipped(**{"m/data.pkl": b"", "m/constants.pkl": b""}),
    "a zip with something before it": b"MZ" + bytes(99) + zipped(**{"a": b"b"}),
    r"an HDF5 file \(Keras": b"\x89HDF\r\n\x1a\n" + bytes(40),
    r"a NumPy array \(\.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}",
    "a TFLite model": b"\x1c\x00\x00\x00TFL3" + bytes(40),
    "an ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:\xff\xff\x03",
    "an ONNX model.*made from": b"\x08\x0a\x3a\x80\x80\x02\x0a",
    r"ggjt.*convert it again": b"tjgg\x03\x00\x00\x00" + bytes(40),
    r"a LoRA of llama\.cpp from before GGUF": b"algg\x01\x00\x00\x00" + bytes(40),
    r"an ncnn network": b"7767517\n190 216\nInput in0",
    r"ncnn weights": b"\x47\x6b\x30\x01" + bytes(40),
    "a Parquet file": b"PAR1" + bytes(40),
    "an SQLite database": b"SQLite format 3\x00" + bytes(40),
    "a pickle of Python objects.*state_dict": pickle.dumps({"a": 1}),
    "only zeros at its beginning": bytes(5000),
    "the file is empty; download": b"",
    'a text file that begins "Entry not found".*download': b"Entry not found",
    'a text file that begins "Invalid username or password."': b"Invalid username or password.\n",
    "a script": b"#!/usr/bin/env python3\nprint(1)",
    'an error message of a server .."NoKey"': b"<?xml version='1.0'?><Error><Code>NoKey</Code>",
    "an XML file": b"<?xml version='1.0'?><net name='rwkv'/>",
}


@pytest.mark.parametrize("match", FILES)
def test_foreign_files(tmp_path, match):
    for name in ("model.pth", "model.safetensors", "model.gguf", "model.bin"):
        path = tmp_path / name
        path.write_bytes(FILES[match])
        assert_refused(path, match.replace('.."', '..?"?'))


@pytest.mark.parametrize("kind", ["adapter", "imatrix", "mmproj"])
def test_ggufs_that_are_no_models(tmp_path, kind):
    path = tmp_path / "m.gguf"
    entries = [entry("general.architecture", STRING, "rwkv7"), entry("general.type", STRING, kind)]
    path.write_bytes(gguf(entries))
    assert_refused(path, f"a GGUF of type {kind}")


def test_what_the_rwkv_package_converted_for_a_strategy(tmp_path):
    items = [
        ("emb.weight", tensor("float16", "0", (4, 4))),
        ("_strategy", "cuda fp16i8 *10 -> cuda fp16"),
        ("_rescale_layer", 6),
        ("_version", "0.7"),
    ]
    path = write_archive(tmp_path / "m.pth", dumps(ordered(items)), {"0": bytes(32)})
    match = r"rwkv package \(version 0\.7\) for strategy 'cuda fp16i8 \*10 -> cuda fp16'.*made from"
    assert_refused(path, match)


@pytest.mark.parametrize(
    ("module", "name", "match"),
    [
        ("torch.nn.modules.linear", "Linear", r"a whole model object.*model\.state_dict\(\)"),
        ("__main__", "RWKV", r"a whole object.*model\.state_dict\(\)"),
        ("src.model", "RWKV_x070", r"a whole object.*model\.state_dict\(\)"),
        ("torch._utils", "_rebuild_qtensor", "quantised tensors of PyTorch"),
        ("torch", "qint8", "quantised tensors of PyTorch"),
        ("torch", "float8_e4m3fn", "8-bit floats"),
        ("posix", "system", "never run a file that does"),
        ("builtins", "eval", "never run a file that does"),
    ],
)
def test_pickles_that_ask_for_more_than_tensors(tmp_path, module, name, match):
    path = write_archive(tmp_path / "m.pth", dumps(Call(Global(module, name), 1)))
    assert_refused(path, f"{name}: refused, since only plain tensors are read; .*{match}")


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("blocks.0.att.key.weight_mx", "ChatRWKV or the rwkv package"),
        ("head.weight_ry", "ChatRWKV or the rwkv package"),
        ("blocks.0.att.key.weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("blocks.0.att.key.weight.absmax", "bitsandbytes"),
        ("blocks.0.att.key.SCB", "bitsandbytes"),
        ("blocks.0.att.key.qweight", "GPTQ or AWQ"),
        ("blocks.0.att.key.weight_packed", "compressed-tensors or FP8"),
        ("blocks.0.att.key.W_q", "HQQ"),
    ],
)
def test_quantisations_of_others(tmp_path, name, maker):
    tensors = {"blocks.0.att.r_k": np.ones((2, 2)), name: np.ones((2, 2))}
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {n: ("float32", v.astype(np.float32)) for n, v in tensors.items()})
    checkpoint = open_checkpoint(path)
    with pytest.raises(CheckpointError, match=f"{name} is of {maker}.*made from"):
        read_config(checkpoint)


def test_unknown_tensors_are_told_by_three_names(tmp_path):
    names = [f"transformer.h.{layer}.weight" for layer in range(5)]
    path = tmp_path / "m.safetensors"
    for count, end in ((5, r"0\.weight, .*1\.weight, .*2\.weight, …$"), (2, r"h\.1\.weight$")):
        values = np.ones(2, np.float32)
        write_safetensors(path, dict.fromkeys(names[:count], ("float32", values)))
        with pytest.raises(CheckpointError, match=f"its tensors are .*{end}"):
            read_config(open_checkpoint(path))


@pytest.mark.parametrize("seed", range(10))
def test_anything_is_described_in_a_line(tmp_path, seed):
    """Cut, changed and joined beginnings of files: the answer is always one line."""
    generator = np.random.default_rng(seed)
    pages = [page.encode(encoding) for page in PAGES[:5] for encoding in MARKS]
    sources = [*FILES.values(), *pages, json.dumps({"error": "x"}).encode(), generator.bytes(500)]
    path = tmp_path / "file"
    for _ in range(300):
        content = bytearray(sources[generator.integers(len(sources))][: generator.integers(600)])
        content += sources[generator.integers(len(sources))][: generator.integers(200)]
        for _ in range(generator.integers(4)):
            if content:
                content[generator.integers(len(content))] = generator.integers(256)
        path.write_bytes(content)
        said = describe(path, bytes(content[:START_BYTES]))
        assert said
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(path)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 700


@pytest.mark.parametrize("page", PAGES)
def test_pages_in_the_place_of_a_configuration(tmp_path, page):
    path = tmp_path / "config.json"
    path.write_text(page, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json: a web page \(HTML\) with the title"):
        read_json_object(path)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_json_object(path)
