"""Answers of scripted workers, whole and put together from a stream."""

import json
from collections.abc import Callable
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.protocol.messages import Generate
from tests.api.harness import CHAT, Harness, events

HELLO = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TIME = {"type": "function", "function": {"name": "time"}}
TOOLS = [WEATHER, TIME]


def says(text: str) -> Callable[[Generate], list[str]]:
    """A script: every character is a token, as long as they are few: ids are their numbers."""
    return lambda _: ["", *text]  # id 0 has no text


async def whole(api: Harness, **body: Any) -> dict[str, Any]:
    """The answer of the only choice."""
    response = await api.post(CHAT, messages=HELLO, **body)
    assert response.status_code == 200, response.text
    ChatCompletion.model_validate(response.json(), strict=True)
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def streamed(api: Harness, **body: Any) -> dict[str, Any]:
    """The same from the chunks of a stream; calls have the number of their fragments, too."""
    response = await api.post(CHAT, messages=HELLO, stream=True, **body)
    message: dict[str, Any] = {"role": "", "content": "", "refusal": None}
    calls: list[dict[str, Any]] = []
    finish = None
    for data in events(response.text)[:-1]:
        chunk = json.loads(data)
        ChatCompletionChunk.model_validate(chunk, strict=True)
        (choice,) = chunk["choices"]
        finish = finish or choice["finish_reason"]
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for each in value:
                    _add(calls, each)
            elif value is not None:
                message[name] = message.get(name, "") + value
    if calls:
        message["tool_calls"] = calls
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}


def _add(calls: list[dict[str, Any]], fragment: dict[str, Any]) -> None:
    if fragment["index"] == len(calls):
        assert set(fragment) == {"index", "id", "type", "function"}
        function = {"name": fragment["function"]["name"], "arguments": ""}
        calls.append({"id": fragment["id"], "type": fragment["type"], "function": function})
    else:
        assert set(fragment) == {"index", "function"}
        assert set(fragment["function"]) == {"arguments"}
    calls[fragment["index"]]["function"]["arguments"] += fragment["function"]["arguments"]


def without_ids(choice: dict[str, Any]) -> dict[str, Any]:
    """Ids differ from answer to answer, and content of nothing is null only in whole answers."""
    message = choice["message"]
    calls = [call | {"id": ""} for call in message.get("tool_calls", ())]
    content = message["content"] or ""
    return choice | {"message": message | {"content": content, "tool_calls": calls}}
