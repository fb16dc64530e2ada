"""What real clients sent, again: all of it is answered, and a second session reads little.

Recorded with tests/clients/record.py: two sessions of each, other words of the user.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server_process import ServerProcess

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.json"))
MOST_READ = 0.1
"""Of a second session's tokens: what is not in the cache."""


@pytest.fixture(scope="module")
def server():
    with ServerProcess() as process:
        yield process.wait_until_ready()


def read(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text())["requests"]


def replay(server, request):
    """Send it, with a short answer; returns its events or its one body."""
    body = dict(request["body"])
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if name in body:
            body[name] = 16
    if request["path"].startswith("/v1/chat"):
        body["max_tokens"] = 16
    if request["path"].startswith("/v1/responses"):
        body["max_output_tokens"] = 16
    with server.client() as http:
        url, headers = request["path"], request["headers"]
        reply = http.request(request["method"], url, json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    lines = reply.text.splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(each) for each in events if each != "[DONE]"] or [reply.json()]


def tokens_read(answer) -> tuple[int, int]:
    """Of the prompt: what was not cached, and all; (0, 0) if the client did not ask for usage."""
    for event in reversed(answer):
        usage = event.get("usage") or event.get("response", {}).get("usage")
        if not usage:
            continue
        if "cache_creation_input_tokens" in usage:
            new = usage["cache_creation_input_tokens"] + usage["input_tokens"]
            return new, new + usage["cache_read_input_tokens"]
        total = usage.get("prompt_tokens", usage.get("input_tokens"))
        details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
        return total - details["cached_tokens"], total
    return 0, 0


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda file: file.stem)
def test_a_second_session_reads_little(server, file):
    """Recorded texts were cut, so that the prompts are a third as long as the clients' own."""
    requests = read(file)
    first, second = requests[: len(requests) // 2], requests[len(requests) // 2 :]
    assert [each["path"] for each in first] == [each["path"] for each in second]
    before = [tokens_read(replay(server, each)) for each in first]
    after = [tokens_read(replay(server, each)) for each in second]
    assert [bool(total) for _, total in before] == [bool(total) for _, total in after]
    new, total = (sum(each) for each in zip(*after, strict=True))
    assert new <= MOST_READ * total or new < 200
