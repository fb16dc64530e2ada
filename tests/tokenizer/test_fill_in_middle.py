"""Which names know how to fill in the middle, and which texts would forge the format."""

import re

import pytest

from server.tokenizer.fill_in_middle import (
    MARKERS,
    MarkerInTextError,
    can_fill,
    check_no_marker,
    fill_head,
)


@pytest.mark.parametrize(
    "name",
    [
        "rwkv7-g1c-1.5b-20251231-ctx8192",
        "rwkv7-g1d-0.4b-20260210-ctx8192.pth",
        "RWKV7-G1k-1.5B-20260930-ctx25600",
        "rwkv7-0.1B-g1l",
        "rwkv-7-g1c2-2.9b-Q8_0.gguf",
        "rwkv7_g1e_7.2b",
        "2.9B-G1C",
        "rwkv7g1f.st",
        "rwkv7-g1c.packed",
    ],
)
def test_names_of_g1c_and_later(name):
    assert can_fill("auto", "rwkv7", [name])
    assert not can_fill("auto", "rwkv6", [name])
    assert not can_fill("off", "rwkv7", [name])


@pytest.mark.parametrize(
    "name",
    [
        *("rwkv7-g1-0.1b-20250307-ctx4096", "rwkv7-g1a-0.4b", "rwkv7-g1a3-1.5b", "rwkv7a-g1b-0.1b"),
        *("rwkv7-g0-7.2b", "rwkv7-g0c", "RWKV-x070-World-0.4B-v2.9", "rwkv7-bg1c", "rwkv7-g1cat"),
        *("rwkv-embedded", "model", "", "rwkv7-g11c", "g1"),
    ],
)
def test_other_names(name):
    assert not can_fill("auto", "rwkv7", [name])
    assert can_fill("on", "rwkv7", [name])
    assert can_fill("on", "rwkv6", [name])


def test_any_of_the_names_tells():
    assert can_fill("auto", "rwkv7", ["model", "rwkv7-g1d-0.1b"])


def test_the_format():
    assert fill_head("B") + "A" == "✿prefix✿✿suffix✿B✿middle✿A"
    assert fill_head("", "x") == "x✿prefix✿✿suffix✿✿middle✿"


TEXTS = [
    *("", "a", "✿", "✿✿", "✿prefix", "suffix✿", "middle", "prefix✿a✿suffix", "✿ middle ✿", "✿mid✿"),
    *("✿middle✿", "a✿prefix✿b", "✿middle✿suffix✿", "✿✿suffix✿✿", "✿Middle✿", "✿mid\ndle✿"),
]


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize("prefix", TEXTS)
def test_texts_that_pass_have_no_marker_more_than_the_format(suffix, prefix):
    try:
        check_no_marker(suffix)
        check_no_marker(prefix)
    except MarkerInTextError:
        return
    text = fill_head(suffix) + prefix + "✿"  # what the model may write next
    # Also those that overlap.
    found = re.findall(f"(?=({'|'.join(MARKERS)}))", text)
    assert found == list(MARKERS)


@pytest.mark.parametrize("text", ["✿middle✿", "x✿suffix✿", "middle✿x", "x✿prefix", "suffix"])
def test_what_holds_or_completes_a_marker_is_refused(text):
    with pytest.raises(MarkerInTextError):
        check_no_marker(text)
