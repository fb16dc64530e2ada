"""Cached states in the real server: seen in the usage, and in nothing else."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.huggingface import HuggingFaceTokenizer
from tests.e2e.server_process import ROOT, ServerProcess

NEW_TOKENS = 16  # of "Tell me about day 12." with its role, and that of the answer
SYSTEM = "You are a patient storyteller. " * 8


@pytest.fixture(scope="module")
def tokenizer():
    """That of the embedded model."""
    return HuggingFaceTokenizer(ROOT / "server/assets/embedded/tokenizer.json")


def chat(http, messages, **fields):
    body = {"messages": messages, "max_tokens": 24, "seed": 3, **fields}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    answer, usage = reply.json(), reply.json()["usage"]
    contents = [choice["message"]["content"] for choice in answer["choices"]]
    return contents, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def test_a_conversation_reads_only_what_is_new(server):
    with server.client() as http:
        messages = [{"role": "system", "content": SYSTEM}]
        known = 0
        for turn in range(6):
            messages.append({"role": "user", "content": f"Tell me about day {turn}."})
            (answer,), tokens, cached = chat(http, messages)
            assert chat(http, messages, no_cache=True) == ([answer], tokens, 0)
            assert chat(http, messages) == ([answer], tokens, tokens)  # asked again
            if turn:
                assert cached >= known  # at least up to the end of the last user's message
            known = tokens - 8
            messages.append({"role": "assistant", "content": answer})


def until_read(http):
    """Wait until no answer is read ahead any more."""
    while http.get("/health").json()["reading_ahead"]:
        pass


def test_a_turn_costs_no_more_than_its_own_tokens(server, tokenizer):
    """The hotter the answer, the less an encoder cuts it into the tokens that were generated."""
    messages = [{"role": "system", "content": SYSTEM}]
    with server.client() as http:
        for turn in range(10):
            user = {"role": "user", "content": f"Tell me about day {turn} of your journey."}
            messages.append(user)
            wild = {"temperature": 1 + 2 * (turn % 2), "top_p": 1, "seed": turn}
            wild |= {"cache_salt": "wild", "max_tokens": 60}
            (answer,), tokens, cached = chat(http, messages, **wild)
            if turn:
                own = tokenizer.encode("\n\n" + ChatTemplate().render([user]))
                assert tokens - cached <= len(own) + 2
            assert chat(http, messages, **wild, no_cache=True) == ([answer], tokens, 0)
            until_read(http)
            messages.append({"role": "assistant", "content": answer})


@pytest.mark.parametrize("mode", ["implicit", "explicit"])
def test_prompts_that_share_all_up_to_a_breakpoint(server, tokenizer, mode):
    story = SYSTEM.strip()

    def ask(question):
        marked = {"type": "text", "text": story, "prompt_cache_breakpoint": {"mode": "explicit"}}
        parts = [marked, {"type": "text", "text": question}]
        options = {"prompt_cache_options": {"mode": mode}, "cache_salt": f"breakpoint {mode}"}
        return chat(http, [{"role": "user", "content": parts}], **options)

    until_there = tokenizer.encode(f"User: {story}")
    with server.client() as http:
        assert ask("Who are you?")[2] == 0
        assert ask("What do you tell?")[2] == len(until_there) >= 32
        assert ask("Who are you?")[2] > len(until_there) or mode == "explicit"


def test_choices_share_a_prefill_and_salts_share_nothing(server):
    messages = [{"role": "user", "content": "What is the sea? " * 20}]
    wild = {"temperature": 2, "top_p": 1}  # or a model that is sure says the same three times
    with server.client() as http:
        single, tokens, _ = chat(http, messages, no_cache=True, **wild)
        several, _, cached = chat(http, messages, n=3, cache_salt="a", **wild)
        assert several[0] == single[0]
        assert len(set(several)) > 1
        assert cached == 0
        for salt in ("b", "c"):
            assert chat(http, messages, cache_salt=salt, **wild) == (single, tokens, 0)
            assert chat(http, messages, cache_salt=salt, **wild) == (single, tokens, tokens)


def test_many_at_once_with_one_document(server):
    document = "The lighthouse stood on a rock far from the coast. " * 30
    questions = [
        [{"role": "user", "content": f"{document}\nQuestion {number}: who lives there?"}]
        for number in range(8)
    ]
    with server.client() as http, ThreadPoolExecutor(8) as pool:
        alone = [chat(http, question, no_cache=True)[0] for question in questions]
        together = list(pool.map(lambda q: chat(http, q, cache_salt="many"), questions))
    assert [answer for answer, _, _ in together] == alone
    tokens = together[0][1]
    assert sum(cached for _, _, cached in together) >= 6 * (tokens - 60)


def test_a_session_survives_restarts(tmp_path):
    """Also of a server that was killed, which may have lost what it had not yet written."""
    messages = [{"role": "system", "content": SYSTEM}]
    environment = {"RWKV_SERVER_CACHE_DIRECTORY": tmp_path}
    for start in range(4):
        with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
            for turn in range(3):
                messages.append({"role": "user", "content": f"Tell me about day {start}{turn}."})
                (answer,), tokens, cached = chat(http, messages)
                assert chat(http, messages, no_cache=True) == ([answer], tokens, 0)
                is_first, was_killed = (start, turn) == (0, 0), (start, turn) == (3, 0)
                if not is_first and not was_killed:
                    assert tokens - cached <= NEW_TOKENS
                messages.append({"role": "assistant", "content": answer})
            if start == 2:
                server.send_signal(signal.SIGKILL)
                server.wait()


def test_the_operator_sees_and_empties_the_cache(tmp_path):
    messages = [{"role": "user", "content": "What is the sea? " * 20}]
    environment = {"RWKV_SERVER_CACHE_DIRECTORY": tmp_path, "RWKV_SERVER_ENGINE_WORKERS": 2}

    def reports(http):
        return [each["cache"] for each in http.get("/v1/cache").json()["data"]]

    with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
        assert [report["memory"]["entries"] for report in reports(http)] == [0, 0]
        assert chat(http, messages)[2] == 0
        used = [report for report in reports(http) if report["memory"]["entries"]]
        assert len(used) == 1
        assert used[0]["memory"]["nbytes"] <= used[0]["limit_bytes"]
        assert "reply" in {entry["kind"] for entry in used[0]["recent"]}
        assert 'rwkv_cache_misses_total{model="rwkv-embedded"' in http.get("/metrics").text
        assert http.delete("/v1/cache").json()["complete"] is True
        assert [report["memory"]["entries"] for report in reports(http)] == [0, 0]
    with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
        assert chat(http, messages)[2] == 0  # nor is anything on disk
