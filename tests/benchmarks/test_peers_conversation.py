"""What is asked of both servers about a conversation, and what is made of their answers."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import httpx
import pytest

from benchmarks.peers import conversation
from benchmarks.peers.programs import ProgramError
from benchmarks.peers.rounds import Measurement
from benchmarks.peers.server_process import our_server


class FakeServer:
    """Remembers each prompt that it has seen, as far as a longer one begins with it."""

    def __init__(self, completion_tokens=1, text=""):
        self.requests = []
        self._prompts = []
        self._completion_tokens = completion_tokens
        self._text = text

    def __call__(self, request):
        body = json.loads(request.content)
        self.requests.append((request.url.raw_path.decode(), body))
        if request.url.path != "/v1/completions":
            return httpx.Response(200, json={})
        prompt = body["prompt"]
        known = [len(seen) for seen in self._prompts if prompt[: len(seen)] == seen]
        self._prompts.append(prompt)
        usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": max(known, default=0)},
        }
        choice = {"text": self._text, "finish_reason": "length"}
        events = [{"choices": [choice]}, {"choices": [], "usage": usage}]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return httpx.Response(200, text="".join([*lines, "data: [DONE]\n\n"]))

    def connected(self, _=None):
        return httpx.Client(transport=httpx.MockTransport(self), base_url="http://test")

    def prompts(self):
        return [body for path, body in self.requests if path == "/v1/completions"]


@pytest.fixture
def fake(monkeypatch):
    fake = FakeServer()
    monkeypatch.setattr(conversation, "_connected", fake.connected)
    return fake


def measured(has_slots):
    folders = []

    def start(folder):
        folders.append(folder)
        return nullcontext(SimpleNamespace())

    return conversation.measure(start, has_slots), folders


@pytest.mark.usefixtures("fake")
def test_what_is_computed_is_what_no_earlier_prompt_begins_with():
    found, folders = measured(has_slots=False)
    computed = {name: value for name, value in found.items() if name.endswith("_computed")}
    assert computed == {
        "turn_1_computed": 60,
        "history_computed": 20_000,
        "turn_50_computed": 60,
        "restarted_turn_computed": 60,
        "first_question_computed": 10_040,
        "second_question_computed": 10_040,  # the fake knows whole prompts only
        "third_question_computed": 10_040,
        "first_user_computed": 2_060,
        "second_user_computed": 2_060,
        "users_turn_computed": 60,
    }
    assert all(found[name.replace("_computed", "_ms")] > 0 for name in computed)
    assert len(folders) == 2
    assert folders[0] == folders[1]  # a restart, over what was kept


def test_both_servers_are_asked_the_same_and_only_theirs_about_slots(fake):
    measured(has_slots=False)
    ours = list(fake.requests)
    fake.requests.clear()
    found, _ = measured(has_slots=True)
    assert [body["prompt"] for _, body in ours] == [body["prompt"] for body in fake.prompts()]
    assert not any("id_slot" in body for _, body in ours)
    paths = [path for path, _ in fake.requests if path.startswith("/slots")]
    assert paths == ["/slots/0?action=save", "/slots/0?action=restore"]
    assert {"save_slot_ms", "restore_slot_ms"} <= found.keys()


def test_second_and_third_question_follow_the_same_document(fake):
    measured(has_slots=False)
    questions = [body["prompt"] for body in fake.prompts() if len(body["prompt"]) == 10_040]
    assert len({tuple(prompt[:10_000]) for prompt in questions}) == 1
    assert len({tuple(prompt[10_000:]) for prompt in questions}) == 3


@pytest.mark.parametrize(("text", "tokens"), [("a", 2), ("a", 0), ("", 2)])
def test_an_answer_must_have_one_token(text, tokens):
    client = conversation.Client(FakeServer(tokens, text).connected())
    with pytest.raises(ProgramError, match="wanted 1 token"):
        client.ask("turn", [1, 2, 3])


def test_ratios_within_a_server_are_medians_of_those_of_each_round():
    names = {name for pair in conversation.WITHIN.values() for name in pair}
    rounds = [
        Measurement(dict.fromkeys(names, 10.0) | {"turn_50_ms": later, "turn_1_ms": first}, 0.0)
        for later, first in ((10.0, 10.0), (90.0, 30.0), (8.0, 4.0))
    ]
    ratios = conversation.within({"ours": rounds})
    assert ratios["ours"]["turn_50 / turn_1"] == 2.0
    assert ratios["ours"]["third_question / first"] == 1.0


@pytest.mark.parametrize("has_folder", [True, False])
def test_our_server_caches_only_with_a_folder(monkeypatch, tmp_path, has_folder):
    started = []
    monkeypatch.setattr(
        "subprocess.Popen", lambda command, **options: started.append((command, options["env"]))
    )
    our_server(tmp_path / "model", "int8", 2, tmp_path if has_folder else None)
    ((_, environment),) = started
    cache = {
        name: value for name, value in environment.items() if name.startswith("RWKV_SERVER_CACHE_")
    }
    if has_folder:
        assert cache == {"RWKV_SERVER_CACHE_DIRECTORY": str(tmp_path)}
    else:
        assert cache == {"RWKV_SERVER_CACHE_MEMORY_BYTES": "0"}
