"""Tokenizer, chat layout, templates and preparation: everything before the first step."""

import json
import lzma
from pathlib import Path
from random import Random

import numpy as np
import pytest

from training.chat_format import IGNORE, encode_chat, prompt_text, reply_ends
from training.data import is_held_out, prepare
from training.prompts import openings, scripted
from training.talk.script import Script, distinct, has_words, held_out
from training.talk.small_talk_table import SMALL_TALK
from training.templates import MADE, generate, generate_calls, run
from training.tokenizer import END_ID, END_TOKEN, Tokenizer, train_tokenizer

TEXTS = ["User: Hello there!\n\nAssistant: Hi, how are you?", "Once upon a time.", "2 + 3 = 5"]
ODD_TEXTS = [
    "",
    " ",
    "Hello",
    "a  b\t\tc \n \n\n d ",
    "\r\n\r\n",
    "naïve café — “quotes”… 12,345.67",
    "日本語 мир שלום",
    "🙂👩‍👩‍👧 \u200b\ufeff\x00\x7f",
    "User: x\n\n\nAssistant:  y",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 5, 320)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_end_of_document_is_token_zero(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id(END_TOKEN) == END_ID == 0
    assert END_ID not in tokenizer.encode("an ordinary text").ids


def test_a_prompt_and_its_reply_have_the_tokens_of_the_whole(tokenizer: Tokenizer) -> None:
    turns = ["Hello", "Hi there!", "What is 2 + 3?"]
    apart = tokenizer.encode(prompt_text(turns)).ids + tokenizer.encode(" It is 5.").ids
    assert apart == tokenizer.encode(prompt_text(turns) + " It is 5.").ids


def test_prompt_text() -> None:
    text = prompt_text(["Hi", "Hello!", "Bye"], system="Be kind.")
    assert text == "System: Be kind.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:"


def test_loss_falls_on_replies_and_their_ends_only(tokenizer: Tokenizer) -> None:
    turns = ["Hello", "Hi there!", "How are you?", "Fine."]
    ids, targets = encode_chat(tokenizer, turns, system="Be kind.")
    text = prompt_text(turns[:3], "Be kind.") + " Fine." + END_TOKEN
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    learnt = [t for t in targets if t != IGNORE]
    assert tokenizer.decode(learnt, skip_special_tokens=False) == (
        f" Hi there!{END_TOKEN} Fine.{END_TOKEN}"
    )
    for i, target in enumerate(targets[:-1]):
        if target not in (IGNORE, END_ID):
            assert target == ids[i + 1]
    # In mid-conversation a reply ends the document for the model, yet the history goes on.
    ends = [i for i, target in enumerate(targets) if target == END_ID]
    assert [tokenizer.decode(ids[i + 1 : i + 2], skip_special_tokens=False) for i in ends] == [
        tokenizer.decode(tokenizer.encode("\n\nUser").ids[:1]),
        END_TOKEN,
    ]


def test_templates_follow_the_seed() -> None:
    assert generate(200, seed=1) == generate(200, seed=1)
    assert generate(200, seed=1) != generate(200, seed=2)


def test_templates_are_well_formed_and_varied() -> None:
    made = generate(3000, seed=3)
    assert len(SMALL_TALK) + len(MADE) >= 60
    assert len({tuple(turns) for turns in made}) > 2000
    for turns in made:
        assert len(turns) % 2 == 0
        assert all(turn and turn == turn.strip() for turn in turns)
        assert not any(mark in turn for turn in turns for mark in ("User:", "{x}", "{n}", "{t}"))


@pytest.mark.parametrize("held", [False, True])
def test_every_reply_passes_the_check_of_its_own_exchange(held: bool) -> None:
    rng = Random(4)
    for intent in MADE:
        for _ in range(25):
            for exchange in run(intent, rng, held).exchanges:
                if exchange.check is not None:
                    assert exchange.check(exchange.reply), (exchange.user, exchange.reply)
                    assert not exchange.check("Zub zub zub."), exchange


def test_training_never_shows_a_held_out_wording() -> None:
    wordings = "What is {x}?|tell me {x}|say what {x} is|explain {x}|{x}?|do you know {x}?"
    apart = {option.format(x="") for option in held_out(wordings)}
    assert apart
    rng, things = Random(5), [f"thing {i}" for i in range(40)]
    shown = {False: set(), True: set()}
    for held, pairs in shown.items():
        for _ in range(2000):
            script, thing = Script(rng, held), rng.choice(things)
            text, is_held = script.wording(wordings, {"x": thing})
            assert is_held == held
            pairs.add((text.replace(thing, ""), thing))
    assert not shown[False] & shown[True]
    assert not {wording for wording, _ in shown[False]} & apart
    assert apart < {wording for wording, _ in shown[True]}  # pairs of trained wordings, too


def test_the_scripted_prompts_are_fixed_and_have_held_out_wordings() -> None:
    def texts() -> list[list[str]]:
        return [[e.user for e in s.exchanges] for pairs in scripted().values() for _, s in pairs]

    assert texts() == texts()
    assert {kind: len(pairs) for kind, pairs in scripted().items()} == {
        "inside": 180, "several turns": 60, "outside": 60,
    }  # fmt: skip
    assert all(
        any(e.held for e in script.exchanges)
        for pairs in scripted().values()
        for _, script in pairs
    )
    shown = {turns[0].lower() for turns in generate(3000, seed=6)}
    several = [[e.user.lower() for e in s.exchanges if e.held] for _, s in scripted()["inside"]]
    assert sum(text in shown for texts in several for text in texts) < 6  # case and marks differ
    assert openings(50) == openings(50)


def test_checks() -> None:
    assert has_words("8|eight & legs")("It has EIGHT legs.")
    assert not has_words("8|eight & legs")("It has 18 legs.")
    pool = {"red", "blue", "green"}
    assert distinct(2, pool)("Red and blue.")
    assert distinct(3, pool)("1. red\n2. blue\n3. green")
    assert not distinct(2, pool)("Red and red.")
    assert not distinct(2, pool)("Red and cat.")


def test_calls_are_laid_out_as_the_server_does() -> None:
    for turns, system in generate_calls(20, seed=1):
        shown = system.removeprefix("Tools:\n").removesuffix("\nReturn only a JSON function call.")
        call = json.loads(turns[1].removeprefix("```json\n").removesuffix("\n```"))
        assert [tool["name"] for tool in json.loads(shown)] == [call["name"]]
        assert "\n\n" not in system


def test_replies_end_before_the_user(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "User: Hello\n\nAssistant: Hi\n\nUser: x\n\nBye"
    ids = np.array(tokenizer.encode(text).ids, np.uint16)
    ends = reply_ends(tmp_path)(ids[:-1], ids[1:])
    assert tokenizer.decode(ids[: int(np.flatnonzero(ends)[0])].tolist()) == (
        "User: Hello\n\nAssistant: Hi"
    )
    assert ends.sum() == 1


def test_one_document_in_a_hundred_is_held_out() -> None:
    count = sum(is_held_out(f"document {i}") for i in range(5000))
    assert 25 < count < 80


def test_prepare_is_repeatable(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = [
        {"text": f"The {i} cats sat. {TEXTS[i % 3]}", "src": "tinystories"} for i in range(300)
    ]
    chats = [{"turns": [f"Say {i}", f"{i}"], "src": "dolly"} for i in range(50)]
    for name, items in (("text", lines), ("chat", chats)):
        with lzma.open(data / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(item) + "\n" for item in items)
    counts = prepare(data, tmp_path / "a", 400, conversations=20, seed=1)
    assert counts == prepare(data, tmp_path / "b", 400, conversations=20, seed=1)
    assert counts["text-tinystories"] > 10 * counts["held-tinystories"]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
