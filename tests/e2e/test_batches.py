"""Batches in a real server: killed in the middle they go on, and answer as interactive requests."""

import json
import signal

import pytest
from openai import OpenAI

from tests.e2e.server_process import ServerProcess

COMPLETIONS = "/v1/completions"
LINES = 120
OVER = ("completed", "failed", "expired", "cancelled")


def body(number):
    """Of one of many requests, a tenth of them wrong."""
    how = {"temperature": 1, "seed": number, "max_tokens": 32, "model": ""}
    if number % 10 == 9:
        how["top_p"] = 2
    return {"prompt": f"Day {number}: the sea – 海 – was", **how}


def content(count):
    lines = []
    for number in range(count):
        fields = {"custom_id": f"day-{number}", "method": "POST", "url": COMPLETIONS}
        lines.append(json.dumps({**fields, "body": body(number)}))
    return "\n".join(lines).encode()


def client_of(server):
    return OpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0)


def start(sdk, lines=LINES):
    file = sdk.files.create(file=("days.jsonl", content(lines)), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=COMPLETIONS, completion_window="24h")


def finished(sdk, ident, least=LINES):
    """The batch when it is over, or when so many of its lines are answered."""
    while True:
        batch = sdk.batches.retrieve(ident)
        if batch.status in OVER or least <= answered(batch) < LINES:
            return batch


def answered(batch):
    return batch.request_counts.completed + batch.request_counts.failed


def lines_of(sdk, ident):
    """The lines of a file, without what differs from run to run."""
    lines = [json.loads(text) for text in sdk.files.content(ident).text.splitlines()]
    for line in lines:
        assert line.pop("id").startswith("batch_req_")
        assert line["response"].pop("request_id")
        for varying in ("id", "created"):
            line["response"]["body"].pop(varying, None)
        line["response"]["body"].get("usage", {}).pop("prompt_tokens_details", None)
    return lines


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A server, its client, and the id of a batch that two servers before it have left undone.

    Nearly all lines that are computed "at once" wait for one of two slots.
    """
    environment = {
        "RWKV_SERVER_BATCHES_DIRECTORY": tmp_path_factory.mktemp("batches"),
        "RWKV_SERVER_BATCHES_CONCURRENCY": 100,
        "RWKV_SERVER_ENGINE_MAX_BATCH": 2,
        "RWKV_SERVER_LIMITS_MAX_REQUESTS": 1,
    }
    ident, seen = None, 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        with ServerProcess(**environment) as server:
            sdk = client_of(server.wait_until_ready())
            ident = ident or start(sdk).id
            left = finished(sdk, ident, least=seen + 4)
            assert left.status == "in_progress"
            assert seen < answered(left) < LINES
            seen = answered(left)
            server.send_signal(number)
            assert server.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    with ServerProcess(**environment) as server:
        yield server, client_of(server.wait_until_ready()), ident


def test_after_kills_the_answers_are_those_of_an_undisturbed_run(resumed):
    server, sdk, ident = resumed
    server.wait_for_line("of them done before", 0)
    batch, undisturbed = finished(sdk, ident), finished(sdk, start(sdk).id)
    output, errors = (
        lines_of(sdk, file) for file in (undisturbed.output_file_id, undisturbed.error_file_id)
    )
    right = [f"day-{number}" for number in range(LINES) if number % 10 != 9]
    assert [line["custom_id"] for line in output] == right
    assert lines_of(sdk, batch.output_file_id) == output
    assert lines_of(sdk, batch.error_file_id) == errors
    assert batch.request_counts == undisturbed.request_counts
    server.wait_for_line(f"{ident}: completed: {len(right)} of {LINES}", 0)
    for number in (0, 7):
        answer = sdk.completions.create(**body(number)).to_dict()
        assert answer["choices"] == output[number]["response"]["body"]["choices"]


def test_an_interactive_request_overtakes_a_batch(resumed):
    server, sdk, _ = resumed
    ident = start(sdk, lines=400).id
    with server.client() as http:
        while http.get("/health").json()["active_requests"] < 90:
            pass
    before = sdk.batches.retrieve(ident)
    answer = sdk.completions.create(model="", prompt="Once", max_tokens=2, seed=1)
    after = sdk.batches.retrieve(ident)
    assert answer.choices[0].finish_reason == "length"
    assert after.status == "in_progress"
    # Those before it in the queue are at least 88.
    assert after.request_counts.completed - before.request_counts.completed < 80
    sdk.batches.cancel(ident)
    assert finished(sdk, ident).status == "cancelled"
