"""JSON bodies of unusual shapes: of up to 16 MiB, at the bounds of the server or far beyond."""

import json
import random

MB = 1 << 20
BODY_BYTES = 16 * MB - 4096
"""Just below http.max_body_bytes, with room for the other fields."""
MAX_VALUES = 100_000
"""http.max_body_values by default."""
FIELD_VALUES = MAX_VALUES - 100
"""Of one field, beside what the other fields have."""

MODEL = "rwkv-embedded"
USER = {"role": "user", "content": "a"}
CHAT = {"model": MODEL, "messages": [USER], "max_tokens": 1}

ROUTES = {
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "a", "store": False, "max_output_tokens": 16},
    "/v1/responses/input_tokens": {"input": "a"},
    "/v1/conversations": {},
    "/v1/conversations/conv_0": {"metadata": {}},
    "/v1/conversations/conv_0/items": {"items": [USER]},
    "/v1/messages": CHAT,
    "/v1/messages/count_tokens": {"model": MODEL, "messages": [USER]},
    "/api/chat": {"model": MODEL, "messages": [USER], "stream": False},
    "/api/generate": {"model": MODEL, "prompt": "a", "stream": False},
    "/api/embed": {"model": MODEL, "input": "a"},
    "/api/show": {"model": MODEL},
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "a", "documents": ["a"]},
    "/v1/score": {"text_1": "a", "text_2": "a"},
    "/tokenize": {"messages": [USER]},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": [USER]},
    "/v1/states": {"messages": [USER]},
    "/v1/states/state_0/fork": {},
    "/v1/batches": {
        "input_file_id": "file-0",
        "endpoint": "/v1/completions",
        "completion_window": "24h",
    },
    "/v1/admin/models/load": {"id": MODEL},
    "/v1/admin/models/reload": {"id": "other"},
}
"""Path → a body that is right, or names what is not there."""


def repeated(item, times=0):
    """A list of so many equal items as JSON, or of as many as a body may have bytes for."""
    times = times or BODY_BYTES // (len(item) + 1)
    return b"[" + b",".join([item] * times) + b"]"


def keys(times):
    """An object of so many fields."""
    return b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(times)) + b"}"


def deep(levels, times=1):
    """Lists in lists, and objects in these."""
    half = levels // 2
    return repeated(b'[{"a":' * half + b"1" + b"}]" * half, times)


def mixed(seed, values):
    """A random tree of at most so many values."""
    rng = random.Random(seed)
    left = values

    def value(depth):
        nonlocal left
        left -= 1
        kind = rng.randrange(8 if depth < 40 and left > 0 else 5)
        if kind < 5:
            return (rng.random(), rng.randrange(10**9), "é\n" * rng.randrange(20), None, True)[kind]
        children = [value(depth + 1) for _ in range(rng.randrange(12)) if left > 0]
        if kind < 7:
            return children
        left -= len(children)
        return {f"{rng.random()}": child for child in children}

    tree = []
    while left > 0:
        tree.append(value(0))
    return json.dumps(tree).encode()


def quoted(value):
    """JSON as a string of JSON."""
    return json.dumps(value.decode()).encode()


FIELDS = {
    "empty objects": lambda: repeated(b"{}", FIELD_VALUES),
    "empty lists": lambda: repeated(b"[]", FIELD_VALUES),
    "empty lists to 16 MiB": lambda: repeated(b"[]"),
    "strings": lambda: repeated(b'"' + b"a" * 150 + b'"', FIELD_VALUES),
    "numbers": lambda: repeated(b"123456789", 1_000_000),
    "numbers to 16 MiB": lambda: repeated(b"1"),
    "fractions": lambda: repeated(b"1.25e-3", FIELD_VALUES),
    "long numbers": lambda: repeated(b"-0." + b"1" * 397),
    "longer numbers": lambda: repeated(b"1" * 4300),
    "fields": lambda: keys(FIELD_VALUES),
    "fields to 16 MiB": lambda: keys(950_000),
    "deep": lambda: deep(500, 130),
    "deep to 16 MiB": lambda: deep(1 << 21),
    "mixed": lambda: mixed(1, FIELD_VALUES),
    "mixed, more": lambda: mixed(2, 5 * FIELD_VALUES),
    "text": lambda: b'"' + b"Once there was a dog. " * (BODY_BYTES // 22) + b'"',
    "wide escapes": lambda: b'"' + b"a" * (BODY_BYTES - 12) + b'\\ud83d\\ude00"',
    "wide characters": lambda: b'"' + b"a" * (BODY_BYTES - 8) + "😀".encode() + b'"',
    "escapes": lambda: b'"' + b"\\u00e9" * (BODY_BYTES // 6) + b'"',
    "half pairs": lambda: b'"' + b"\xed\xa0\x80" * (BODY_BYTES // 3) + b'"',
    "backslashes": lambda: b'"' + b"\\\\" * (BODY_BYTES // 2) + b'"',
    "white space": lambda: b" " * BODY_BYTES + b"1",
    "no end": lambda: b'"' + b"a" * BODY_BYTES,
    "broken UTF-8": lambda: b'"' + b"\x80" * BODY_BYTES + b'"',
}
"""Name → what makes a value, for a field that no route knows."""


def with_field(path, name, value):
    """A right body with a field of its own, or with another value of one."""
    fields = {key: other for key, other in ROUTES[path].items() if key != name}
    begin = json.dumps(fields)[:-1] + (", " if fields else "")
    return begin.encode() + json.dumps(name).encode() + b": " + value + b"}"


_EMPTY = b'{"role":"user","content":""}'
_PART = b'{"type":"text","text":""}'
_PARTS = b'{"role":"user","content":' + repeated(_PART, 2048) + b"}"
_CALL = b'{"id":"a","type":"function","function":{"name":"a","arguments":"{}"}}'
_CALLS = b'{"role":"assistant","tool_calls":' + repeated(_CALL, 1024) + b"}"
_USE = b'{"type":"tool_use","id":"a","name":"a","input":{}}'
_USES = b'{"role":"assistant","content":' + repeated(_USE, 2048) + b"}"
_RESULT = b'{"type":"tool_result","tool_use_id":"a","content":' + repeated(_PART, 2048) + b"}"
_RESULTS = b'{"role":"user","content":' + repeated(_RESULT, 9) + b"}"
_SCHEMA = b'{"type":"object","properties":' + keys(40_000) + b"}"


def many_lists():
    """An object of many empty lists."""
    return b'{"x":' + repeated(b"[]", 90_000) + b"}"


_LISTS = many_lists()
_MANY_LISTS = b'{"x":' + repeated(b"[]", 5_000_000) + b"}"
_INPUT_PART = b'{"type":"input_text","text":""}'
_INPUT_PARTS = b'{"role":"user","content":' + repeated(_INPUT_PART, 2048) + b"}"
_REFERENCE = b'{"type":"item_reference","id":"a"}'
_OUTPUT = b'{"type":"function_call_output","call_id":"a","output":""}'
_REASONING = b'{"type":"reasoning","summary":[{"type":"summary_text","text":""}]}'
_TEXTS = b'"' + b"a" * 150 + b'"'


def _tool(schema):
    return b'{"type":"function","function":{"name":"a","parameters":' + schema + b"}}"


def _call(arguments):
    """A message with a call."""
    call = b'{"id":"a","function":{"name":"a","arguments":' + arguments + b"}}"
    return b'{"role":"assistant","tool_calls":[' + call + b"]}"


def _conversations(field, item):
    return {
        f"10,000 {field}": (field, lambda: repeated(item, 10_000)),
        f"{field} to the bound": (field, lambda: repeated(item, 19_900)),
        f"{field} to 16 MiB": (field, lambda: repeated(item)),
    }


_CHAT_FIELDS = {
    **_conversations("messages", _EMPTY),
    "parts": ("messages", lambda: repeated(_PARTS, 9)),
    "calls": ("messages", lambda: repeated(_CALLS, 8)),
    "arguments of many lists": ("messages", lambda: b"[" + _call(quoted(_MANY_LISTS)) + b"]"),
    "a tool of many fields": ("tools", lambda: repeated(_tool(_SCHEMA), 1)),
    "a tool of many lists": ("tools", lambda: repeated(_tool(_LISTS), 1)),
    "tools": ("tools", lambda: repeated(_tool(b"{}"), 15_000)),
    "documents": ("documents", lambda: repeated(b'{"text":"a"}', 30_000)),
    "a document of many lists": ("documents", lambda: repeated(_LISTS, 1)),
    "template variables": ("chat_template_kwargs", lambda: keys(40_000)),
    "a template variable of many lists": ("chat_template_kwargs", lambda: _LISTS),
}
_GENERATED_FIELDS = {
    "a schema of many fields": ("guided_json", lambda: _SCHEMA),
    "a schema as text": ("guided_json", lambda: quoted(_MANY_LISTS)),
    "an output's schema as text": (
        "structured_outputs",
        lambda: b'{"json":' + quoted(_MANY_LISTS) + b"}",
    ),
    "unknown outputs": ("structured_outputs", lambda: keys(40_000)),
    "stop strings": ("stop", lambda: repeated(b'"a"', FIELD_VALUES)),
    "biases": ("logit_bias", lambda: keys(90_000)),
    "token ids": ("stop_token_ids", lambda: repeated(b"1", 1_000_000)),
}
_ITEM_FIELDS = {
    **_conversations("input", _EMPTY),
    "parts": ("input", lambda: repeated(_INPUT_PARTS, 9)),
    "references": ("input", lambda: repeated(_REFERENCE, 10_000)),
    "outputs": ("input", lambda: repeated(_OUTPUT, 9_000)),
    "reasoning": ("input", lambda: repeated(_REASONING, 8_000)),
    "metadata": ("metadata", lambda: keys(90_000)),
    "a tool of many fields": (
        "tools",
        lambda: b'[{"type":"function","name":"a","parameters":' + _SCHEMA + b"}]",
    ),
}
_BLOCK_FIELDS = {
    **_conversations("messages", _EMPTY),
    "blocks": ("messages", lambda: repeated(_PARTS, 9)),
    "uses": ("messages", lambda: repeated(_USES, 4)),
    "results": ("messages", lambda: repeated(_RESULTS, 1)),
    "system": ("system", lambda: repeated(_PART, 30_000)),
    "a tool of many fields": (
        "tools",
        lambda: b'[{"name":"a","input_schema":' + _SCHEMA + b"}]",
    ),
}
KNOWN = {
    "/v1/completions": {
        "prompts": ("prompt", lambda: repeated(_TEXTS, FIELD_VALUES)),
        "prompts of ids": ("prompt", lambda: repeated(b"[1]", FIELD_VALUES)),
        "a prompt of ids": ("prompt", lambda: repeated(b"1", 1_000_000)),
        "a long prompt": ("prompt", FIELDS["text"]),
        **_GENERATED_FIELDS,
    },
    "/v1/chat/completions": _CHAT_FIELDS | _GENERATED_FIELDS,
    "/v1/responses": _ITEM_FIELDS,
    "/v1/responses/input_tokens": _ITEM_FIELDS,
    "/v1/conversations": {
        "items": ("items", lambda: repeated(_EMPTY, 10_000)),
        "metadata": ("metadata", lambda: keys(90_000)),
    },
    "/v1/messages": _BLOCK_FIELDS,
    "/v1/messages/count_tokens": _BLOCK_FIELDS,
    "/api/chat": {
        **_conversations("messages", _EMPTY),
        "calls": ("messages", lambda: repeated(_CALLS, 8)),
        "a tool of many fields": ("tools", lambda: repeated(_tool(_SCHEMA), 1)),
        "options": ("options", lambda: keys(90_000)),
        "a format of many fields": ("format", lambda: _SCHEMA),
        "a format as text": ("format", lambda: quoted(_MANY_LISTS)),
    },
    "/api/generate": {"options": ("options", lambda: keys(90_000))},
    "/api/embed": {"inputs": ("input", lambda: repeated(_TEXTS, FIELD_VALUES))},
    "/v1/embeddings": {
        "inputs": ("input", lambda: repeated(_TEXTS, FIELD_VALUES)),
        "inputs of ids": ("input", lambda: repeated(repeated(b"1", 5), 2048)),
    },
    "/v1/rerank": {"documents": ("documents", lambda: repeated(_TEXTS, FIELD_VALUES))},
    "/v1/score": {"texts": ("text_2", lambda: repeated(_TEXTS, FIELD_VALUES))},
    "/tokenize": _CHAT_FIELDS,
    "/apply-template": _CHAT_FIELDS,
    "/detokenize": {"tokens": ("tokens", lambda: repeated(b"1", 1_000_000))},
    "/v1/states": {**_conversations("messages", _EMPTY)},
}
"""Path → name → a field that the route knows, and what makes its value."""
