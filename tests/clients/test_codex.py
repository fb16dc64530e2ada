"""Requests that Codex CLI 0.171 has sent, their long texts cut, over HTTP and over a WebSocket."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.api.responses.tools import IGNORED_HEADER
from tests.api.harness import MODEL, serving
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.test_response_events import events
from tests.api.websocket_client import connected

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"}
LATER = [
    {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c1"}
    | {"name": "close_agent", "namespace": "multi_agent_v1", "arguments": '{"target": "x"}'},
    {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "invalid agent id"},
    {"type": "function_call", "id": "fc_2", "status": "completed", "call_id": "c2"}
    | {"name": "view_image", "arguments": '{"path": "/home/user/x.png"}'},
    {"type": "function_call_output", "id": "fco_2", "call_id": "c2", "output": [IMAGE]},
]
"""What it added to its history when such calls were made."""
CALLS = {
    "codex_namespaces": ("multi_agent_v1.close_agent", "function_call", "close_agent"),
    "codex_code_mode": ("functions.exec", "custom_tool_call", "exec"),
}


def request(name: str) -> dict[str, Any]:
    """One that was recorded, for the model of the tests."""
    body: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return body | {"model": MODEL}


def calling(folder: Path, name: str) -> ResponsesHarness:
    """A model that calls a tool of the request."""
    text = (
        f'<tool_call>\n{{"name": "{CALLS[name][0]}", "arguments": {{"input": "x"}}}}\n</tool_call>'
    )
    limits = {"max_prompt_tokens": 1_000_000}
    return ResponsesHarness(folder, {"limits": limits}, script=lambda _: [text])


@pytest.mark.parametrize("name", CALLS)
async def test_a_turn_with_a_call(tmp_path: Path, name: str) -> None:
    api, body = calling(tmp_path, name), request(name)
    response = await api.call("POST", RESPONSES, json=body)
    assert response.status_code == 200, response.text
    assert response.headers.get(IGNORED_HEADER, "web_search") == "web_search"
    (item,) = events(response.text)[-1][1]["response"]["output"]
    assert (item["type"], item["name"]) == CALLS[name][1:]
    assert item["namespace"] == CALLS[name][0].split(".")[0]
    output = {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
    body["input"] += [item, output, *LATER]
    assert (await api.call("POST", RESPONSES, json=body)).status_code == 200


@pytest.mark.parametrize("name", CALLS)
async def test_a_turn_over_a_websocket_after_a_warm_up(tmp_path: Path, name: str) -> None:
    api, body = calling(tmp_path, name), request(name)
    *begin, last = body.pop("input")
    create = {"type": "response.create", **body}
    async with serving(api.app) as base, connected(base) as client:
        await client.send(create | {"input": begin, "generate": False})
        warm = (await client.events())[-1]
        assert warm["type"] == "response.completed"
        after = {"previous_response_id": warm["response"]["id"], "input": [last]}
        await client.send(create | after)
        done = (await client.events())[-1]
        assert done["response"]["output"][0]["type"] == CALLS[name][1]
