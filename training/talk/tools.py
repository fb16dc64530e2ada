"""Calls of functions, in the layout in which the server tells a model of its tools."""

import json
from typing import Any

from server.tokenizer.tool_text import TOOL_TEXT
from training.talk.people import NAMES, PLACES
from training.talk.script import Check, Script

# name: (description, parameters, wordings); {x} is the first argument
_TOOLS: dict[str, tuple[str, dict[str, str], str]] = {
    "get_weather": ("Get the weather of a city", {"city": "string"},
                    "What is the weather in {x}?|weather in {x}|Rain in {x}?|how is the weather in "
                    "{x}?|Is it cold in {x}?|will it rain in {x}?|tell me the weather of {x}"),
    "get_time": ("Get the time in a city", {"city": "string"},
                 "What time is it in {x}?|time in {x}|what's the time in {x}?|current time in "
                 "{x}?"),
    "send_message": ("Send a message to a person", {"name": "string"},
                     "Send a message to {x}.|write to {x}|message {x}|send {x} a message"),
    "call": ("Call a person", {"name": "string"},
             "Call {x}.|phone {x}|please ring {x}|call {x} now"),
    "set_timer": ("Set a timer", {"minutes": "integer"},
                  "Set a timer for {x} minutes.|timer {x} minutes|wake me in {x} minutes|start a "
                  "timer of {x} minutes"),
    "search": ("Search for a text", {"query": "string"},
               "Search for {x}.|look up {x}|find {x}|google {x}|search {x}"),
    "add": ("Add two numbers", {"a": "integer", "b": "integer"},
            "Add {x} and {y}.|What is {x} + {y}?|{x} plus {y}|sum of {x} and {y}"),
    "play_music": ("Play music", {"title": "string"},
                   "Play {x}.|play the song {x}|I want to hear {x}"),
}  # fmt: skip
_TITLES = "Yesterday|Happy Birthday|Jingle Bells|Blue Moon|Summer Time|Let It Go".split("|")
_QUERIES = "cats|old books|cheap flights|pizza|red shoes|good films|a new phone".split("|")


def _value(c: Script, field: str, kind: str) -> Any:
    if kind == "integer":
        return c.rng.randint(1, 60)
    options = {"city": PLACES, "name": NAMES, "title": _TITLES, "query": _QUERIES}[field]
    return c.rng.choice(options)


def signature(name: str) -> dict[str, Any]:
    description, fields, _ = _TOOLS[name]
    properties = {field: {"type": kind} for field, kind in fields.items()}
    parameters = {"type": "object", "properties": properties, "required": list(fields)}
    return {"type": "function", "function": {
        "name": name, "description": description, "parameters": parameters}}  # fmt: skip


def call(c: Script) -> list[dict[str, Any]]:
    """Fill the script with a call; returns the tools that the system text tells of."""
    name = c.rng.choice(list(_TOOLS))
    _, fields, wordings = _TOOLS[name]
    values = {field: _value(c, field, kind) for field, kind in fields.items()}
    filled = dict(zip("xy", values.values(), strict=False))
    text = TOOL_TEXT["g1"].call(name, json.dumps(values))
    c.say(wordings, text, _calls(name, values), **filled)
    last = c.exchanges[-1]
    for value in map(str, filled.values()):
        last.user = last.user.replace(value.lower(), value)
    return [signature(name)]


def _calls(name: str, values: dict[str, Any]) -> Check:
    def check(reply: str) -> bool:
        try:
            found = json.loads(reply.split("```json")[1].split("```")[0])
        except (ValueError, IndexError):
            return False
        return bool(found == {"name": name, "arguments": values})

    return check
