"""Reasoning that a request switched off stays off when a grammar holds the output.

Each dialect's way to say so, each kind of grammar, and templates of each kind.
"""

from dataclasses import replace
from typing import Any

import pytest
from llguidance import LLMatcher

from server.grammars.checker import GrammarChecker
from server.grammars.compiling import make_vocabulary
from server.tokenizer.bytes import ByteTokenizer
from tests.api.answers import TIME, WEATHER
from tests.api.harness import CHAT, MODEL, Harness

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
CHECKER = GrammarChecker()
VOCABULARY = make_vocabulary(ByteTokenizer(), 256)
SCHEMA = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
OUTPUT, CALL = '{"a": 1}', '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'

OFF: dict[str, tuple[str, dict[str, Any]]] = {
    "effort none": (CHAT, {"messages": HELLO, "reasoning_effort": "none"}),
    "effort minimal": (CHAT, {"messages": HELLO, "reasoning_effort": "minimal"}),
    "enable_thinking": (CHAT, {"messages": HELLO, "enable_thinking": False}),
    "kwargs": (CHAT, {"messages": HELLO, "chat_template_kwargs": {"enable_thinking": False}}),
    "messages": ("/v1/messages", {"messages": HELLO, "thinking": {"type": "disabled"}}),
    "responses": ("/v1/responses", {"input": "hi", "reasoning": {"effort": "none"}}),
    "ollama": ("/api/chat", {"messages": HELLO, "think": False}),
    "ollama generate": ("/api/generate", {"prompt": "hi", "think": False}),
}
SAME = ("effort minimal", "enable_thinking", "kwargs")
"""Other words for what has been tried with each grammar."""
TEMPLATES = {
    "knows none": ("assistant:", ""),
    "closes it empty": ("assistant: <think>\n\n</think>\n\n", ""),
    "closes all but a bracket": ("assistant: <think>\n</think", ">"),
    "opens it": ("assistant: <think>\n", "</think>"),
    "opens all but a bracket": ("assistant: <think", ">\n</think>"),
}
"""What prompts end with, and how an answer without reasoning begins then."""
NAMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
GRAMMARS: dict[str, dict[str, Any]] = {
    "json_schema": {"response_format": NAMED},
    "json_object": {"response_format": {"type": "json_object"}},
    "guided_json": {"guided_json": SCHEMA},
    "regex": {"guided_regex": '\\{"a": 1\\}'},
    "choice": {"guided_choice": [OUTPUT]},
    "lark": {"guided_grammar": "start: OUTPUT\nOUTPUT: /\\{.a.: 1\\}/"},
    "required": {"tools": [WEATHER, TIME], "tool_choice": "required"},
    "named": {"tools": [WEATHER, TIME], "tool_choice": TIME},
    "schema or call": {"response_format": NAMED, "tools": [TIME]},
}


def in_dialect(path: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    """The same wish as that dialect has it; None: it has no such field."""
    if path == CHAT:
        return fields
    formats = fields.get("response_format", NAMED) == NAMED
    if path == "/v1/messages":
        if "tools" in fields:
            tools = [{"name": "time", "input_schema": {"type": "object", "properties": {}}}]
            choice = fields.get("tool_choice", "auto")
            kind = {"auto": "auto", "required": "any"}.get(str(choice))
            named = {"type": kind} if kind else {"type": "tool", "name": "time"}
            fields = fields | {"tools": tools, "tool_choice": named}
        if fields.pop("response_format", None):
            fields["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return fields | {"max_tokens": 9} if formats else None
    if path == "/v1/responses":
        if "tools" in fields:
            fields = fields | {"tools": [{"type": "function", "name": "time"}]}
            if isinstance(fields.get("tool_choice"), dict):
                fields["tool_choice"] = {"type": "function", "name": "time"}
        if fields.pop("response_format", None):
            text = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
            fields["text"] = text
        return fields if formats else None
    return {"format": SCHEMA} if fields == {"response_format": NAMED} else None


def accepts(grammar: str, text: str) -> bool:
    """Whether a text is a whole answer."""
    matcher = LLMatcher(VOCABULARY, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def api_with(template: str) -> Harness:
    """A model that reasons, and whose prompts end with a text."""
    api = Harness({"model": {"reasoning": "on"}})
    api.app.state.service = replace(api.app.state.service, grammars=CHECKER)
    api.template.render = lambda *_, **__: template  # type: ignore[method-assign]
    return api


async def grammar_of(api: Harness, path: str, body: dict[str, Any]) -> str:
    """What the worker is told."""
    response = await api.post(path, model=MODEL, **body)
    assert response.status_code == 200, response.text
    return api.worker.generated[-1].task.params.grammar


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("dialect", OFF)
async def test_what_is_switched_off_stays_off(dialect: str, template: str) -> None:
    path, switched_off = OFF[dialect]
    prompt, begin = TEMPLATES[template]
    api = api_with(prompt)
    for name, wanted in GRAMMARS.items():
        fields = in_dialect(path, dict(wanted))
        if fields is None or (dialect in SAME and name not in ("json_schema", "required")):
            continue
        grammar = await grammar_of(api, path, switched_off | fields)
        answer = CALL if name in ("required", "named") else OUTPUT
        assert accepts(grammar, begin + answer), name
        for thought in ("<think>so</think>", "\n<think>\nso\n</think>\n", "so</think>"):
            assert not accepts(grammar, begin + thought + answer), name
            assert not accepts(grammar, begin.removesuffix("</think>") + thought + answer), name


@pytest.mark.parametrize("template", TEMPLATES)
async def test_what_is_on_may_reason_where_the_template_has_not_ended_it(template: str) -> None:
    prompt, begin = TEMPLATES[template]
    api = api_with(prompt)
    for name, wanted in GRAMMARS.items():
        body = {"messages": HELLO, "enable_thinking": True} | wanted
        grammar = await grammar_of(api, CHAT, body)
        answer = CALL if name in ("required", "named") else OUTPUT
        thought = "so</think>" if begin.endswith("</think>") else "<think>so</think>"
        text = begin.removesuffix("</think>") + thought + answer
        assert accepts(grammar, text) == ("closes" not in template)


async def test_templates_that_say_nothing_leave_it_to_the_model() -> None:
    body = {"messages": HELLO, "response_format": NAMED}
    grammar = await grammar_of(api_with("assistant:"), CHAT, body)
    assert accepts(grammar, OUTPUT)
    assert accepts(grammar, f"<think>so</think>{OUTPUT}")
