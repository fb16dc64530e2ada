"""Batches of every endpoint: the answers are those of the endpoint itself."""

import json
from typing import Any

import openai
import pytest

from tests.e2e.server_process import ServerProcess

MODEL = "rwkv-embedded"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 8},
    "/v1/embeddings": {"input": "a dog"},
    "/v1/responses": {"input": "Who are you?", "max_output_tokens": 8},
}
CHANGING = ("id", "created", "created_at", "completed_at", "usage", "output")
"""Of an answer: names, times, and what was cached of its prompt; of `output` the ids."""


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What is the same each time."""
    kept = {name: value for name, value in answer.items() if name not in CHANGING}
    return kept | {"output": [item["content"] for item in answer.get("output", [])]}


@pytest.mark.parametrize("endpoint", BODIES)
def test_a_batch_gives_what_the_endpoint_gives(server: ServerProcess, endpoint: str) -> None:
    body = {"model": MODEL, "seed": 3, **BODIES[endpoint]}
    if endpoint == "/v1/embeddings":
        del body["seed"]
    lines = [
        {"custom_id": name, "method": "POST", "url": endpoint, "body": body} for name in ("a", "b")
    ]
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as sdk,
        server.client() as http,
    ):
        file = sdk.files.create(
            file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch"
        )
        batch = sdk.batches.create(
            input_file_id=file.id,
            endpoint=endpoint,  # type: ignore[arg-type]
            completion_window="24h",
        )
        while batch.status not in ("completed", "failed", "expired"):
            batch = sdk.batches.retrieve(batch.id)
        assert batch.status == "completed", batch.errors
        assert batch.output_file_id is not None
        answers = map(json.loads, sdk.files.content(batch.output_file_id).text.splitlines())
        direct = http.post(endpoint, json=body).json()
    assert [same(each["response"]["body"]) for each in answers] == [same(direct)] * 2
