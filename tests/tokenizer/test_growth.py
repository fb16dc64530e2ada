"""Normalizers that would fill the server's memory, and patterns that the library gives up on."""

import base64
import json
import struct

import pytest

from server.tokenizer.base import TokenizerError
from server.tokenizer.growth import check_growth
from server.tokenizer.huggingface import HuggingFaceTokenizer
from tests.tokenizer.files import byte_level


def replace(found, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: found}, "content": content}


def sequence(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


def table(*texts):
    strings = b"\0".join(text.encode() for text in texts)
    return {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(
            struct.pack("<I", 8) + bytes(8) + strings
        ).decode(),
    }


FINE = [
    None,
    {"type": "NFC"},
    sequence({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
    sequence({"type": "NFKC"}, {"type": "Lowercase"}, replace(" {2,}", " ", "Regex")),
    replace("a" * 1000, "b" * 2000),
    sequence(replace("\n", ""), replace('"', "''")),
    table("a", "\ufdfa", "صلى الله عليه وسلم"),
]
GROWING = [
    replace("a", "x" * 100),
    replace("", "x" * 64),
    replace("a?", "x" * 64, "Regex"),
    sequence(*9 * [replace("a", "aaaaaaaaaa")]),
    sequence(sequence(replace("a", "a" * 10)), sequence(replace("a", "a" * 10))),
    {"type": "Prepend", "prepend": "x" * 2000},
    sequence(*1100 * [{"type": "Prepend", "prepend": "x"}]),
    table("a", "x" * 100_000),
]


@pytest.mark.parametrize("normalizer", FINE)
def test_common_ones_are_fine(normalizer):
    check_growth(normalizer)


@pytest.mark.parametrize("normalizer", GROWING)
def test_those_that_make_texts_long_are_refused(normalizer):
    with pytest.raises(ValueError, match="its normalizer"):
        check_growth(normalizer)


def changed(tmp_path, **parts):
    path = tmp_path / "tokenizer.json"
    byte_level(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return path


def test_a_file_with_one_is_refused(tmp_path):
    path = changed(tmp_path, normalizer=replace("a", "x" * 1000))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: not a usable tokenizer: its norm"):
        HuggingFaceTokenizer(path)


@pytest.mark.parametrize("length", [40, 100_000])  # in one piece, and not
def test_a_pattern_that_the_library_gives_up_on_is_an_error_of_the_text(length, tmp_path):
    split = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    tokenizer = HuggingFaceTokenizer(changed(tmp_path, pre_tokenizer=split))
    assert tokenizer.decode(tokenizer.encode("cat")) == "cat"
    with pytest.raises(TokenizerError, match="tokenizer of this model fails on the text"):
        tokenizer.encode("a" * length + "b")
    assert tokenizer.decode(tokenizer.encode("cat")) == "cat"
