"""The embedded model as people meet it: the server answers as well as its card says."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from server.checkpoints.locate import EMBEDDED
from training.measures import loops
from training.prompts import openings, scripted

REPORT = json.loads((EMBEDDED / "evaluation.json").read_text(encoding="utf-8"))
AT_ONCE = 16
# The card was measured in float32; in the fewer bits of the server near ties may fall otherwise.
OTHERWISE = 0.05


@pytest.fixture
def ask(server):
    """(turns, more fields) → the text of the reply."""
    with httpx.Client(base_url=server.url, timeout=120) as client:

        def reply(turns, **fields):
            roles = ("user", "assistant")
            messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
            body = {"messages": messages, "temperature": 0, "max_tokens": 100, **fields}
            answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
            return answer["choices"][0]["message"]["content"].strip()

        yield reply


def is_right(ask, script):
    """Whether every reply of a scripted conversation passes its check."""
    turns = []
    for exchange in script.exchanges:
        turns.append(exchange.user)
        turns.append(ask(turns))
        if exchange.check is not None and not exchange.check(turns[-1]):
            return False
    return True


@pytest.mark.parametrize("kind", REPORT["scripted"])
def test_scripted_conversations_go_as_the_card_says(ask, kind):
    scripts = [script for _, script in scripted()[kind]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        right = sum(pool.map(lambda script: is_right(ask, script), scripts))
    told, of = REPORT["scripted"][kind]
    assert of == len(scripts)
    assert abs(right - told) <= OTHERWISE * of, (right, told)


def test_samples_of_the_card_are_unselected_and_golden(ask):
    replies = [ask(turns[:-1]) for turns in REPORT["samples"]]
    same = sum(reply == turns[-1] for reply, turns in zip(replies, REPORT["samples"], strict=True))
    assert same >= len(replies) - 1, replies


def test_sampled_replies_say_something_and_hardly_ever_loop(ask):
    prompts = openings(100)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(
            pool.map(lambda n: ask([prompts[n]], temperature=0.8, seed=n), range(len(prompts)))
        )
    assert all(replies)
    looping = [reply for reply in replies if loops(reply)]
    assert len(looping) <= 1, looping
