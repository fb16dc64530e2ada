"""Messages with calls and results of tools, as a chat template wants them.

A template that knows tools gets what transformers would give it. Any other, the built-in one too,
gets messages in which tools, calls and results are text, in the form of Hermes and Qwen, which RWKV
G1 has seen in its training as well.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]

BEGIN_CALL, END_CALL = "<tool_call>", "</tool_call>"
BEGIN_RESULT, END_RESULT = "<tool_response>", "</tool_response>"

# No blank lines: in RWKV's own format they end a turn.
_TOOLS = """\
# Tools
You may call one or more functions to assist with the user query.
You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>
For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
_SHOWN = ("name", "description", "parameters")


class Arguments(dict[str, Any]):
    """The arguments of a call: an object whose JSON is the text that the model wrote.

    So what a template makes of an earlier call is what was generated, and its state is found.
    """

    __slots__ = ("_text",)

    def __init__(self, values: dict[str, Any], text: str) -> None:
        super().__init__(values)
        self._text = text

    def as_json(self) -> str:
        """The JSON text as it was given."""
        return self._text


def with_objects(messages: Iterable[Message]) -> list[Message]:
    """The messages with the arguments of calls as objects, as transformers' templates want them.

    What is not the JSON of an object stays text.
    """
    return [_with_objects(message) if "tool_calls" in message else message for message in messages]


def with_text(messages: Iterable[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages with tools, calls and results in their contents, and without such roles.

    Tools are part of the system message, which is added if there is none. Results that follow each
    other are one message of the user.
    """
    plain = list(_plain(messages))
    if not tools:
        return plain
    first = plain[0] if plain and plain[0]["role"] in ("system", "developer") else None
    text = f"{first['content']}\n{tools_text(tools)}" if first else tools_text(tools)
    return [{"role": "system", "content": text}, *plain[1 if first else 0 :]]


def tools_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """What tells a model which tools there are, and how it calls them."""
    signatures = []
    for tool in tools:
        function = {key: tool["function"][key] for key in _SHOWN if key in tool["function"]}
        signatures.append(
            json.dumps({"type": "function", "function": function}, ensure_ascii=False)
        )
    return _TOOLS.format(signatures="\n".join(signatures))


def call_text(name: str, arguments: str) -> str:
    """A call as a model writes it that was told by tools_text; `arguments` are JSON."""
    named = json.dumps(name, ensure_ascii=False)
    return f'{BEGIN_CALL}\n{{"name": {named}, "arguments": {arguments}}}\n{END_CALL}'


def in_order_of_calls(messages: Sequence[Message]) -> list[Message]:
    """Results in the order of the calls before them, each with the name of its function.

    Results of a run that do not all answer other calls of the message before it are left alone.
    """
    ordered: list[Message] = []
    calls: dict[str, tuple[int, str]] = {}
    position = 0
    while position < len(messages):
        message = messages[position]
        if message["role"] != "tool":
            calls = {
                call["id"]: (number, call["function"]["name"])
                for number, call in enumerate(message.get("tool_calls", ()))
                if "id" in call
            }
            ordered.append(message)
            position += 1
            continue
        end = position
        while end < len(messages) and messages[end]["role"] == "tool":
            end += 1
        ordered += _named_in_order(messages[position:end], calls)
        position = end
    return ordered


def _named_in_order(
    results: Sequence[Message], calls: Mapping[str, tuple[int, str]]
) -> Sequence[Message]:
    ids = [result.get("tool_call_id") for result in results]
    if len(set(ids)) < len(ids) or not all(each in calls for each in ids):
        return results
    ordered = sorted(results, key=lambda result: calls[result["tool_call_id"]][0])
    return [{"name": calls[result["tool_call_id"]][1], **result} for result in ordered]


def _with_objects(message: Message) -> Message:
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        calls.append(
            {**call, "function": {**function, "arguments": _parsed(function["arguments"])}}
        )
    return {**message, "tool_calls": calls}


def _parsed(arguments: str) -> Arguments | str:
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return Arguments(values, arguments) if isinstance(values, dict) else arguments


def _plain(messages: Iterable[Message]) -> Iterator[Message]:
    results: list[str] = []
    for message in messages:
        if message["role"] in ("tool", "function"):
            results.append(f"{BEGIN_RESULT}\n{message['content']}\n{END_RESULT}")
            continue
        if results:
            yield {"role": "user", "content": "\n".join(results)}
            results = []
        yield _with_call_text(message) if message.get("tool_calls") else message
    if results:
        yield {"role": "user", "content": "\n".join(results)}


def _with_call_text(message: Message) -> Message:
    functions = [call["function"] for call in message["tool_calls"]]
    calls = [call_text(function["name"], function["arguments"]) for function in functions]
    said = [message["content"]] if message["content"] else []
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join([*said, *calls])}
