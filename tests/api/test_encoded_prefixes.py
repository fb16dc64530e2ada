"""Beginnings of conversations that are not encoded again: ids as of encoding all of it."""

import json
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.boundaries import boundaries_in, token_boundaries
from server.api.encoded_prefixes import MIN_IDS, EncodedPrefixes
from server.api.encoding import _encoded
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.prompt_parts import encode_prompt
from server.tokenizer.request_template import RequestTemplate
from server.tokenizer.template_text import TemplateText, joined, literal
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from tests.e2e.server_process import ROOT

EMBEDDED = ROOT / "server/assets/embedded/tokenizer.json"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NAMES = ("<|im_start|>", "<|im_end|>")


def with_special_tokens(folder, **flags):
    config = json.loads(EMBEDDED.read_text())
    first = 1 + max(config["model"]["vocab"].values())
    for number, name in enumerate(NAMES, first):
        token = {"id": number, "content": name, "special": True, "normalized": False}
        token |= {"single_word": False, "lstrip": False, "rstrip": False} | flags
        config["added_tokens"].append(token)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(config))
    return HuggingFaceTokenizer(path)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    world = WorldTokenizer(load_world_vocabulary())
    return {
        "embedded": HuggingFaceTokenizer(EMBEDDED),
        "chatml": with_special_tokens(tmp_path_factory.mktemp("plain")),
        "stripping": with_special_tokens(
            tmp_path_factory.mktemp("strip"), lstrip=True, rstrip=True
        ),
        "world": world,
        "bytes": ByteTokenizer(),
    }


KINDS = ("embedded", "chatml", "stripping", "world", "bytes")


def encoded(cache, text, tokenizer, space="a"):
    known = cache.find(space, text, tokenizer)
    prompt = _encoded(text, tokenizer, "prompt", 0, known)
    cache.keep(space, text, prompt, tokenizer)
    return prompt, known


PIECES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["\n\n", " ", "'s", "\r\n", " \t ", "😀", "é", "e\u0301", "ส", "한", "\ud800", "\0"]
    ),
    st.sampled_from(["User:", "Assistant:", *NAMES, "<|im_", "|>", "<|im_start|>user\n"]),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.tuples(PIECES, st.booleans()), min_size=1, max_size=14),
    cuts=st.lists(st.integers(0, 14), max_size=4),
)
def test_any_text_that_grows_has_the_ids_of_the_whole(tokenizers, kind, pieces, cuts):
    """Whoever wrote its parts, wherever it was cut."""
    tokenizer, cache = tokenizers[kind], EncodedPrefixes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.api.encoded_prefixes.MIN_IDS", 1)
        parts = [literal(text) if is_written else text for text, is_written in pieces]
        for cut in sorted({*cuts, len(parts)}):
            text = joined(parts[:cut])
            prompt, _ = encoded(cache, text, tokenizer)
            whole = encode_prompt(text, tokenizer)
            assert prompt.ids == whole.ids
            ends = [(end, "message") for end in {0, len(text) // 3, len(text) // 2, len(text)}]
            found = token_boundaries(ends, text, prompt.ids, tokenizer, prompt.spans)
            assert found == token_boundaries(ends, text, whole.ids, tokenizer, whole.spans)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_turn_encodes_its_own_text(tokenizers, kind):
    """Of a conversation of many turns; what it has to encode does not grow."""
    tokenizer = tokenizers[kind]
    own = kind in ("chatml", "stripping")
    template = RequestTemplate(ChatTemplate(CHATML) if own else ChatTemplate())
    cache, rng, messages = EncodedPrefixes(), random.Random(3), []
    words = "a lighthouse stood on the rock, far from coast; it's 42 years old ".split()
    for turn in range(30):
        said = " ".join(rng.choices(words, k=60))
        messages.append({"role": "user", "content": said})
        text = template.render(messages)
        prompt, known = encoded(cache, text, tokenizer)
        whole = encode_prompt(text, tokenizer)
        assert prompt.ids == whole.ids
        ends = boundaries_in(messages, text, template)
        counts = token_boundaries(ends, text, prompt.ids, tokenizer, prompt.spans)
        assert counts == token_boundaries(ends, text, whole.ids, tokenizer, whole.spans)
        if turn > 10:
            assert known is not None
            assert len(text) - known.characters < 1200
        messages.append({"role": "assistant", "content": " ".join(rng.choices(words, k=60)) + "."})


def long_text(seed, words=2 * MIN_IDS):
    return " ".join(random.Random(seed).choices("sea rock coast lamp ship".split(), k=words))


def test_nobody_finds_what_another_said_or_another_model_read(tokenizers):
    cache, text = EncodedPrefixes(), long_text(1)
    encoded(cache, text, tokenizers["world"], "mine")
    assert cache.find("mine", text + " more", tokenizers["world"]) is not None
    assert cache.find("theirs", text + " more", tokenizers["world"]) is None
    assert cache.find("mine", text + " more", tokenizers["embedded"]) is None
    other = WorldTokenizer(load_world_vocabulary())
    assert cache.find("mine", text + " more", other) is None


def test_who_wrote_the_characters_is_part_of_the_text(tokenizers):
    """The same characters, once from a message and once from a template."""
    tokenizer, cache = tokenizers["chatml"], EncodedPrefixes()
    said = f"{long_text(2)}<|im_end|>\nand more of it"
    plain, known = encoded(cache, TemplateText(said), tokenizer)
    assert known is None
    written, known = encoded(cache, literal(said), tokenizer)
    assert known is None
    assert written.ids != plain.ids
    again, known = encoded(cache, literal(said), tokenizer)
    assert known is not None
    assert again.ids == written.ids


def test_it_holds_no_more_than_it_may(tokenizers):
    tokenizer = tokenizers["bytes"]
    cache = EncodedPrefixes(max_entries=3, max_ids=4 * MIN_IDS)
    texts = [chr(97 + n) * (MIN_IDS + n) for n in range(6)]
    for text in texts:
        encoded(cache, text, tokenizer)
    found = [cache.find("a", text, tokenizer) is not None for text in texts]
    assert found == [False, False, False, True, True, True]
    encoded(cache, "x" * (2 * MIN_IDS), tokenizer)
    assert sum(len(entry.ids) for entry in cache._entries.values()) == cache._count <= 4 * MIN_IDS
    encoded(cache, "y" * (5 * MIN_IDS), tokenizer)  # more than all of it: not kept
    assert cache.find("a", "y" * (5 * MIN_IDS), tokenizer) is None
    encoded(cache, "short", tokenizer)
    assert cache.find("a", "short", tokenizer) is None


def test_threads_may_use_it_at_once(tokenizers):
    tokenizer, wrong = tokenizers["world"], []
    cache = EncodedPrefixes(max_entries=4)

    def work(seed):
        text = long_text(seed)
        for turn in range(8):
            text += f" and then {turn}"
            prompt, _ = encoded(cache, text, tokenizer, str(seed % 3))
            if prompt.ids != tokenizer.encode(text):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
