"""Every kind of answer, byte for byte as it is in tests/api/golden; ids and times stand as `…`.

A change that is meant: RENEW_GOLDEN=1 python -m pytest tests/api/test_golden.py, and read the diff.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from server.tokenizer.tool_messages import call_text
from tests.api.harness import Harness
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parent / "golden"
CHANGING = re.compile(
    r'"(?:id|item_id|call_id|created|created_at|completed_at|request_id|system_fingerprint'
    r'|\w+_duration)":("[^"]*"|\d+)'
)
ROLES = [{"role": "user", "content": "Weather in Rome?"}]
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}
AGENT = ">Let me see.</think>\nA moment.\n" + call_text("weather", '{"city": "Rome"}')
HELLO = "Hello, wörld"

CHAT: dict[str, Any] = {"messages": ROLES, "stream": True, "seed": 1}
TEXT: dict[str, Any] = {"prompt": "hi", "stream": True, "seed": 1}
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("/v1/chat/completions", CHAT, HELLO),
    "chat-usage": (
        "/v1/chat/completions",
        CHAT | {"stream_options": {"include_usage": True}},
        HELLO,
    ),
    "chat-two-choices": ("/v1/chat/completions", CHAT | {"n": 2}, HELLO),
    "chat-logprobs": ("/v1/chat/completions", CHAT | {"logprobs": True}, HELLO),
    "chat-length": ("/v1/chat/completions", CHAT | {"max_tokens": 2}, HELLO),
    "chat-agent": ("/v1/chat/completions", CHAT | TOOLS, AGENT),
    "completions": ("/v1/completions", TEXT, HELLO),
    "completions-echo": ("/v1/completions", TEXT | {"echo": True, "logprobs": 0}, HELLO),
    "responses-agent": (
        "/v1/responses",
        {"input": "hi", "stream": True, "seed": 1, "tools": [{"type": "function"} | FUNCTION]},
        AGENT,
    ),
    "messages-agent": (
        "/v1/messages",
        CHAT | {"max_tokens": 99, "tools": [{"name": "weather", "input_schema": {}}]},
        AGENT,
    ),
    "ollama-agent": ("/api/chat", {"messages": ROLES, **TOOLS}, AGENT),
    "ollama-generate": ("/api/generate", {"prompt": "hi"}, HELLO),
}
LOGPROBS = {"logprobs": True, "top_logprobs": 2}
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "whole-chat": ("/v1/chat/completions", CHAT | LOGPROBS | {"n": 2}),
    "whole-chat-plain": ("/v1/chat/completions", CHAT),
    "whole-completions": ("/v1/completions", TEXT | {"prompt": ["hé", "x"], "logprobs": 2}),
    "whole-completions-echo": ("/v1/completions", TEXT | {"echo": True, "logprobs": 1}),
    "whole-completions-best": ("/v1/completions", TEXT | {"best_of": 3, "n": 2, "echo": True}),
    "whole-responses": ("/v1/responses", {"input": "hi", "top_logprobs": 2, "store": False}),
    "whole-messages": ("/v1/messages", {"messages": ROLES, "max_tokens": 9}),
    "whole-ollama-chat": ("/api/chat", {"messages": ROLES, **LOGPROBS}),
    "whole-ollama-generate": ("/api/generate", {"prompt": "hi", "raw": True, **LOGPROBS}),
    "whole-embeddings": ("/v1/embeddings", {"input": ["a", "bé"]}),
    "whole-ollama-embed": ("/api/embed", {"input": ["a", "bé"]}),
    "whole-ollama-embeddings": ("/api/embeddings", {"prompt": "a"}),
}
FAILURES = {
    "chat-failure": ("/v1/chat/completions", CHAT),
    "completions-failure": ("/v1/completions", TEXT),
    "responses-failure": ("/v1/responses", {"input": "hi", "stream": True}),
    "messages-failure": ("/v1/messages", CHAT | {"max_tokens": 99}),
    "ollama-failure": ("/api/chat", {"messages": ROLES}),
}


def compare(name: str, said: str) -> None:
    """With what it was."""
    said = CHANGING.sub(lambda found: found[0].removesuffix(found[1]) + '"…"', said)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(said)
    assert said == path.read_text()


@pytest.mark.parametrize("name", CASES)
async def test_a_stream_is_what_it_was(name: str) -> None:
    path, body, text = CASES[name]
    sections = {"model": {"reasoning": "on"}} if text == AGENT else {}
    api = Harness(sections, script=lambda _: [text[at : at + 6] for at in range(0, len(text), 6)])
    response = await api.post(path, **body)
    assert response.status_code == 200, response.text
    compare(name, response.text)


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_is_what_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda _: 1)
    path, body = WHOLE[name]
    text = 'Hé, "雪"\n\x01'
    api = scoring(lambda _: FakeTokenizer().encode(text))
    if "embed" in name:
        api = Harness()
    response = await api.post(path, **body | {"stream": False})
    assert response.status_code == 200, response.text
    assert int(response.headers["content-length"]) == len(response.content)
    compare(name, response.text)


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_in_a_stream_is_what_it_was(name: str) -> None:
    path, body = FAILURES[name]
    response = await Harness(finish="error", error="out of luck").post(path, **body)
    assert response.status_code == 200
    compare(name, response.text)
