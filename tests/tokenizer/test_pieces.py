"""Ids that come in pieces are those of the whole text, and no piece holds up other threads."""

import gc
import json
import sys
import threading
import time
import tracemalloc
from itertools import islice

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from server.checkpoints.locate import EMBEDDED
from server.tokenizer import bytes as byte_module
from server.tokenizer import huggingface, splitting, world
from server.tokenizer.base import TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.splitting import KNOWN_PATTERNS, Splitter
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from tests.processor import slowness
from tests.tokenizer import twins
from tests.tokenizer.files import TEXT, byte_fallback

WORLD = WorldTokenizer(load_world_vocabulary())
OWN = HuggingFaceTokenizer(EMBEDDED / "tokenizer.json")
TOKENIZERS = {
    "world": (WORLD, twins.world_twin(load_world_vocabulary())),
    "hugging face": (
        OWN,
        twins.hugging_face_twin(tokenizers.Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))),
    ),
    "bytes": (ByteTokenizer(), twins.byte_twin),
}
every_tokenizer = pytest.mark.parametrize("kind", TOKENIZERS)

ADVERSARIAL = st.lists(
    st.sampled_from(
        [
            *("a", "b", "ing", "The", " ", "  ", "\n", "\r\n", "\n\n", "\t", "\x85", "\u3000"),
            *("'s", "'", "'ll", "'S", "ſ", "_", "1", "23", "中", "文", "，", "。", "é", "e\u0301"),
            *("\u0301", "\u0328", "!", "?", "-", "😀", "ﬁ", "가", "\u1100\u1161", "\0", "\ud800"),
            *("<|endoftext|>", "<tool_call>", "    ", "ü", "١", "\u200d", "\xa0", "<|", "|>"),
        ]
    )
    | st.characters(),
    max_size=60,
).map("".join)


@pytest.fixture(scope="module", autouse=True)
def _tiny_pieces():
    """Texts of a test are split as long ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "PIECE_CHARACTERS", 6)
        patch.setattr(huggingface, "PIECE_CHARACTERS", 6)
        patch.setattr(world, "_PIECE_BYTES", 1)  # four times the longest token, then
        patch.setattr(byte_module, "_PIECE_CHARACTERS", 5)
        yield


def joined(tokenizer, text):
    return [token for piece in tokenizer.pieces(text) for token in piece]


@every_tokenizer
@settings(max_examples=300, deadline=None)
@given(text=ADVERSARIAL)
def test_pieces_are_what_the_whole_text_was(kind, text):
    tokenizer, twin = TOKENIZERS[kind]
    expected = twin(text)
    assert joined(tokenizer, text) == expected
    assert tokenizer.encode(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_world_pieces_end_nowhere_a_token_could_go_on(data):
    beginnings = sorted(token for token in load_world_vocabulary().values() if len(token) > 20)
    parts = data.draw(st.lists(st.sampled_from(beginnings), min_size=5, max_size=30))
    cuts = data.draw(st.lists(st.integers(1, 128), min_size=len(parts), max_size=len(parts)))
    text = b"".join(p[:c] for p, c in zip(parts, cuts, strict=True)).decode(errors="ignore")
    twin = TOKENIZERS["world"][1]
    assert joined(WORLD, text) == twin(text)


def trained(path, pattern, normalizer=None, added=(), **flags):
    """A tokenizer.json with a pattern of words, or with the one of GPT-2 for None."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = ["'s 's 'll it's a1b a's1 中文，中文。 a! b? ab\n cd\n\n e\u0301 x-y a  b   c"] * 9
    tokenizer.train_from_iterator([*TEXT, *words], trainer)
    tokenizer.add_tokens([tokenizers.AddedToken(a, special=False, **flags) for a in added])
    tokenizer.save(str(path))
    return HuggingFaceTokenizer(path), twins.hugging_face_twin(tokenizer)


FAMILIES = {
    f"{number} {name}": (pattern, normalizer, added)
    for number, pattern in enumerate([None, *sorted(KNOWN_PATTERNS)])
    for name, normalizer, added in (
        ("plain", None, ()),
        ("nfc", normalizers.NFC(), ("  ", "    ")),
        ("tags", None, ("<tool_call>", "</tool_call>")),
    )
}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    path = tmp_path_factory.mktemp("families") / "tokenizer.json"
    return {name: trained(path, *family) for name, family in FAMILIES.items()}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=ADVERSARIAL)
def test_pieces_of_every_known_pattern(families, family, text):
    tokenizer, twin = families[family]
    assert joined(tokenizer, text) == twin(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_known_pattern_does_split(families, family):
    tokenizer, twin = families[family]
    text = "and so on\nit goes 中文 12 " * 20
    pieces = list(tokenizer.pieces(text))
    assert len(pieces) > 20
    assert joined(tokenizer, text) == twin(text)


def own_config():
    return json.loads((EMBEDDED / "tokenizer.json").read_text())


def changed(**changes):
    return own_config() | changes


def added(content, **flags):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "special": False} | flags
    return {"id": 1, "content": content, "normalized": False, **flags}


UNSPLIT = {
    "no words": changed(pre_tokenizer=None),
    "unknown words": changed(pre_tokenizer={"type": "Whitespace"}),
    "prefix": changed(
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
    ),
    "bytes without words": changed(
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    ),
    "another normal form": changed(normalizer={"type": "NFKC"}),
    "one more step": changed(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    ),
    "a token over words": changed(added_tokens=[added("so on")]),
    "a token that takes blanks": changed(added_tokens=[added("x", rstrip=True)]),
    "a token that is a word": changed(added_tokens=[added("x", single_word=True)]),
}


@pytest.mark.parametrize("name", UNSPLIT)
def test_what_might_change_ids_is_not_split(monkeypatch, name):
    text = "and so on, " * 20
    assert len(list(Splitter(own_config()).parts(text))) > 5
    assert list(Splitter(UNSPLIT[name]).parts(text)) == [text]
    monkeypatch.setattr(splitting, "LONGEST_CHARACTERS", 100)
    with pytest.raises(TokenizerError, match="takes at most 100 characters"):
        list(Splitter(UNSPLIT[name]).parts(text))


def test_a_text_without_a_place_to_split(monkeypatch, tmp_path):
    monkeypatch.setattr(splitting, "LONGEST_CHARACTERS", 100)
    with pytest.raises(TokenizerError, match="needs a space between words in 100 characters"):
        OWN.encode("a b " + "a" * 500)
    byte_fallback(tmp_path / "tokenizer.json")
    fallback = HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    assert fallback.decode(fallback.encode("a b " * 20)) == "a b " * 20
    with pytest.raises(TokenizerError, match="takes at most"):
        fallback.encode("a b " * 30)


def test_tokens_of_a_vocabulary_are_bounded():
    tokens = {number + 1: bytes((number,)) for number in range(256)}
    WorldTokenizer(tokens | {300: b"a" * world.MAX_TOKEN_BYTES})
    with pytest.raises(TokenizerError, match="at most 1024 bytes"):
        WorldTokenizer(tokens | {300: b"a" * (world.MAX_TOKEN_BYTES + 1)})


TEXTS = {
    "english": "The quick brown fox jumps over 12345 lazy dogs.\n    def f(x): return x\n",
    "chinese": "中文字符没有空格，这是一个很长的句子。",
    "emoji": "😀👍🏽 ",
    "noise": "".join(chr(33 + number * number * 31 % 90) for number in range(3000)) + " ",
}


class Watch(threading.Thread):
    """Another thread, as the event loop is, and for how long at most it had to wait.

    In seconds of the processor: other programs may keep the machine busy, too.
    """

    def __init__(self):
        super().__init__()
        self.longest = 0.0
        self._ended = threading.Event()

    def run(self):
        last = time.process_time()
        while not self._ended.wait(0.001):
            now = time.process_time()
            self.longest = max(self.longest, now - last)
            last = now

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


@pytest.fixture
def real_pieces(monkeypatch):
    monkeypatch.setattr(splitting, "PIECE_CHARACTERS", 32 << 10)
    monkeypatch.setattr(huggingface, "PIECE_CHARACTERS", 32 << 10)
    monkeypatch.setattr(world, "_PIECE_BYTES", 16 << 10)
    monkeypatch.setattr(byte_module, "_PIECE_CHARACTERS", 64 << 10)


@pytest.mark.usefixtures("real_pieces")
@every_tokenizer
@pytest.mark.parametrize("text", TEXTS)
def test_sixteen_megabytes_hold_up_no_other_thread(kind, text):
    """Each of the first pieces takes less than 100 ms of the processor.

    The library of Hugging Face lets go of the interpreter, so there a thread can say how long.
    """
    tokenizer = TOKENIZERS[kind][0]
    long = TEXTS[text] * (16_000_000 // len(TEXTS[text].encode()))
    gc.disable()  # what other tests have left may take it a second to go through
    tracemalloc.start()
    try:
        pieces = tokenizer.pieces(long)
        count, longest = 0, 0.0
        with Watch() as watch:
            for _ in range(40):
                begun = time.thread_time()
                count += sum(map(len, islice(pieces, 1)))
                longest = max(longest, time.thread_time() - begun)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert count > 10_000
    assert peak < 100 << 20
    if kind == "hugging face":
        traced = 0.2 if sys.gettrace() is not None else 0.0
        assert watch.longest < max(0.1 * slowness(), longest / 3) + traced
    else:
        assert longest < 0.1 * slowness()
