"""Messages with calls and results of tools, as a chat template wants them.

A template that knows tools gets what transformers would give it. Any other, the built-in one too,
gets messages in which tools, calls and results are text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from server.tokenizer.tool_text import TOOL_TEXT, TextForm, ToolText

Message = Mapping[str, Any]


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


def with_text(
    messages: Iterable[Message], tools: Sequence[Mapping[str, Any]], form: TextForm
) -> list[Message]:
    """The messages with tools, calls and results in their contents, and without such roles.

    Tools are part of the system message, which is added if there is none. Results are turns of the
    user, which are marked as `is_result`.
    """
    text = TOOL_TEXT[form]
    plain = list(_plain(messages, text))
    if not tools:
        return plain
    first = plain[0] if plain and plain[0]["role"] in ("system", "developer") else None
    said = tools_text(tools, form)
    said = f"{first['content']}\n{said}" if first and first["content"] else said
    return [{"role": "system", "content": said}, *plain[1 if first else 0 :]]


def tools_text(tools: Sequence[Mapping[str, Any]], form: TextForm) -> str:
    """What tells a model which tools there are, and how it calls them."""
    return TOOL_TEXT[form].tools(tools)


def call_text(name: str, arguments: str, form: TextForm = "hermes") -> str:
    """A call as a model writes it that was told by tools_text; `arguments` are JSON."""
    return TOOL_TEXT[form].call(name, arguments)


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


def _plain(messages: Iterable[Message], text: ToolText) -> Iterator[Message]:
    results: list[str] = []
    for message in messages:
        if message["role"] in ("tool", "function"):
            results.append(text.result(message["content"]))
            continue
        yield from _turns(results, text)
        results = []
        yield _with_call_text(message, text) if message.get("tool_calls") else message
    yield from _turns(results, text)


def _turns(results: Sequence[str], text: ToolText) -> Iterator[Message]:
    """The user's turns for results that follow each other."""
    said = ["\n".join(results)] if results and text.shares_turn else results
    for content in said:
        yield {"role": "user", "content": content, "is_result": True}


def _with_call_text(message: Message, text: ToolText) -> Message:
    functions = [call["function"] for call in message["tool_calls"]]
    calls = [text.call(function["name"], function["arguments"]) for function in functions]
    said = [message["content"]] if message["content"] else []
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join([*said, *calls])}
