"""What each field of sampling does to the text of the embedded model."""

import pytest

from server.tokenizer.huggingface import HuggingFaceTokenizer
from tests.e2e.server_process import ROOT

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def tokenizer():
    """That of the embedded model."""
    return HuggingFaceTokenizer(ROOT / "server/assets/embedded/tokenizer.json")


@pytest.fixture
def ask(server):
    def complete(**fields):
        body = {"prompt": PROMPT, "max_tokens": 40, "seed": 5, "ignore_eos": True, **fields}
        with server.client() as http:
            reply = http.post("/v1/completions", json=body)
        assert reply.status_code == 200, reply.text
        (choice,) = reply.json()["choices"]
        return choice["text"], reply.json()["usage"]["completion_tokens"]

    return complete


def varied(ask, **fields):
    """How many different texts five seeds give."""
    return len({ask(seed=seed, max_tokens=12, **fields)[0] for seed in range(5)})


def test_a_bias_forces_and_bans_tokens(ask, tokenizer):
    greedy, _ = ask(temperature=0, max_tokens=8)
    first = tokenizer.encode(greedy)[0]
    for never in ({str(first): -100}, [[first, False]]):
        other, _ = ask(temperature=0, max_tokens=8, logit_bias=never)
        assert not other.startswith(greedy[:4])
    assert ask(logit_bias={"z": 100}, max_tokens=6)[0] == "zzzzzz"


def test_only_allowed_tokens_are_sampled(ask, tokenizer):
    (yes,), (no,) = tokenizer.encode("a"), tokenizer.encode("b")
    text, _ = ask(allowed_token_ids=[yes, no], temperature=3, top_p=1)
    assert set(text) == {"a", "b"}


def test_min_tokens_hold_back_the_end(ask):
    ends = {"ignore_eos": False, "logit_bias": {"0": 100}, "temperature": 0}
    assert ask(**ends)[1] == 1
    assert ask(**ends, min_tokens=7)[1] == 8


def test_filters_that_leave_one_token_are_greedy(ask):
    greedy, _ = ask(temperature=0)
    assert varied(ask, top_p=1) > 1
    assert ask(top_p=1, min_p=1)[0] == greedy
    assert ask(mirostat=2, mirostat_tau=0)[0] == greedy
    assert ask(mirostat=2, mirostat_tau=5)[0] != greedy


def test_typical_p_narrows_the_choice(ask):
    plain = {"temperature": 1, "top_p": 1}
    (most_typical,) = {ask(**plain, typical_p=1e-9, seed=seed)[0] for seed in range(3)}
    assert most_typical != ask(temperature=0)[0]
    assert varied(ask, **plain, typical_p=0.9) > 1


def test_xtc_drops_the_likely(ask):
    greedy, _ = ask(temperature=0)
    cold = {"temperature": 0.7, "top_p": 1, "xtc_threshold": 0.001}
    without = ask(**cold, xtc_probability=0)[0]
    assert without == ask(**{**cold, "xtc_threshold": 0.5})[0]
    always = ask(**cold, xtc_probability=1)[0]
    assert always not in (without, greedy)


def test_dry_ends_a_repetition_and_breakers_spare_it(ask):
    again = {"temperature": 0, "max_tokens": 8, "logit_bias": {"z": 60}}
    assert ask(**again)[0] == "z" * 8
    again["dry_multiplier"] = 100
    text, _ = ask(**again)
    assert text.startswith("zzz")
    assert not text.startswith("zzzz")
    assert ask(**again, dry_allowed_length=4)[0].startswith("zzzzz")
    assert ask(**again, dry_sequence_breakers=["z"])[0] == "z" * 8
    assert ask(**again, dry_penalty_last_n=0)[0] == "z" * 8
