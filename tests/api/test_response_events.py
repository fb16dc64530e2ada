"""The stream of a response, event by event."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import MODEL
from tests.api.responses_harness import RESPONSES, ResponsesHarness

pytestmark = pytest.mark.anyio

PLACE = '"item_id":"msg_1","output_index":0,"content_index":0'
PART = '{"type":"output_text","text":"%s","annotations":[],"logprobs":[]}'
ITEM = '{"id":"msg_1","type":"message","status":"%s","role":"assistant","content":[%s]}'
TEXT = "Hello, wörld"
TRANSCRIPT = [
    '{"type":"response.created","response":"in_progress","sequence_number":0}',
    '{"type":"response.in_progress","response":"in_progress","sequence_number":1}',
    '{"type":"response.output_item.added","output_index":0,"item":'
    + ITEM % ("in_progress", "")
    + ',"sequence_number":2}',
    '{"type":"response.content_part.added",' + PLACE + ',"part":' + PART % ""
    + ',"sequence_number":3}',
    '{"type":"response.output_text.delta",' + PLACE
    + ',"delta":"Hello","logprobs":[],"sequence_number":4}',
    '{"type":"response.output_text.delta",' + PLACE
    + ',"delta":", wörld","logprobs":[],"sequence_number":5}',
    '{"type":"response.output_text.done",' + PLACE
    + ',"text":"' + TEXT + '","logprobs":[],"sequence_number":6}',
    '{"type":"response.content_part.done",' + PLACE + ',"part":' + PART % TEXT
    + ',"sequence_number":7}',
    '{"type":"response.output_item.done","output_index":0,"item":'
    + ITEM % ("completed", PART % TEXT)
    + ',"sequence_number":8}',
    '{"type":"response.completed","response":"completed","sequence_number":9}',
]  # fmt: skip


def events(body: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of each event; nothing else may be in the stream."""
    found = []
    *frames, rest = body.split("\n\n")
    assert rest == ""
    for frame in frames:
        if frame != ": ping":
            name, data = frame.split("\n")
            content = json.loads(data.removeprefix("data: "))
            assert name == f"event: {content['type']}"
            found.append((name.removeprefix("event: "), content))
    assert [content["sequence_number"] for _, content in found] == list(range(len(found)))
    return found


async def test_the_transcript_of_a_stream(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, script=lambda _: [" Hello", ", wörld"])
    response = await api.call("POST", RESPONSES, json={"input": "hi", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    told = re.sub(r"msg_\w+", "msg_1", response.text)
    told = re.sub(r'"response":\{.*?"status":"(\w+)".*\},"seq', r'"response":"\1","seq', told)
    lines = [line.removeprefix("data: ") for line in told.splitlines() if line[:5] == "data:"]
    assert lines == TRANSCRIPT
    (*_, (_, last)) = events(response.text)
    assert await api.ask("GET", f"{RESPONSES}/{last['response']['id']}") == last["response"]


async def test_the_response_of_an_event_is_as_it_was_then(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    body = {"input": "hi", "stream": True, "max_output_tokens": 2}
    told = events((await api.call("POST", RESPONSES, json=body)).text)
    shown = [content["response"] for _, content in told if "response" in content]
    assert [each["status"] for each in shown] == ["in_progress", "in_progress", "incomplete"]
    assert [len(each["output"]) for each in shown] == [0, 0, 1]
    assert [each["usage"] is None for each in shown] == [True, True, False]
    assert told[-1][0] == "response.incomplete"


async def test_an_answer_without_text_is_an_empty_message(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, script=lambda _: [])
    assert (await api.respond())["output"][0]["content"][0]["text"] == ""
    told = events((await api.call("POST", RESPONSES, json={"input": "a", "stream": True})).text)
    assert "response.output_text.delta" not in [name for name, _ in told]
    assert told[-1][1]["response"]["output"][0]["content"][0]["text"] == ""


async def test_a_failure_ends_the_stream_and_is_not_kept(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, finish="error", error="out of luck")
    response = await api.call("POST", RESPONSES, json={"input": "hi", "stream": True})
    told = events(response.text)
    assert [name for name, _ in told[-2:]] == ["error", "response.failed"]
    error, failed = told[-2][1], told[-1][1]["response"]
    assert error["code"] == "engine_error"
    assert "out of luck" in error["message"]
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert (await api.call("GET", f"{RESPONSES}/{failed['id']}")).status_code == 404


async def test_what_cannot_be_kept_fails_after_the_text(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"responses": {"limit_bytes": 100}})
    response = await api.call("POST", RESPONSES, json={"input": "hi", "stream": True})
    told = events(response.text)
    assert "response.output_text.done" in [name for name, _ in told]
    assert told[-1][1]["response"]["error"]["type"] == "responses_full"
    refused = await api.call("POST", RESPONSES, json={"input": "hi"})
    assert refused.status_code == 507


async def test_a_client_that_leaves_ends_the_generation(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with api.sdk() as client:
        stream = await client.responses.create(model=MODEL, input="hi", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
