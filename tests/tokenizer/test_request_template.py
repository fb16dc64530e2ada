"""Tools and thinking in prompts: of the built-in template, and of templates that know them."""

import json

import pytest

from server.tokenizer.base import TokenizerError
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.reasoning import reasoning_of
from server.tokenizer.request_template import RequestTemplate

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city.\n\nNow é",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
USER = {"role": "user", "content": "Rain?"}

QWEN = """\
{%- if tools %}{{ '<|im_start|>system\\n<tools>' }}
{%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}
{{- '\\n</tools><|im_end|>\\n' }}{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{%- if call.function.arguments is string %}{{ call.function.arguments }}
{%- else %}{{ call.function.arguments | tojson }}{% endif %}{{ '}\\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}{% endif %}"""


def called(*calls, **fields):
    """An assistant's message with calls: (id, name, arguments)."""
    made = [
        {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
        for ident, name, arguments in calls
    ]
    return {"role": "assistant", "content": "", "tool_calls": made, **fields}


def result(ident, content):
    return {"role": "tool", "content": content, "tool_call_id": ident}


TURNS = [
    USER,
    called(("a", "weather", '{"city":"Rome"}'), ("b", "time", "{}"), content="Let me see."),
    result("b", "noon\n\n\nsharp"),
    result("a", "dry"),
]


def test_tools_in_the_built_in_format():
    text = RequestTemplate(ChatTemplate(), [WEATHER, TIME]).render(TURNS)
    system, user, assistant, first, second, last = text.split("\n\n")
    head, tools, tail = system.split("\n")
    assert head == "System: Tools:"
    assert tools == (
        '[{"name":"weather","description":"Of a city.\\n\\nNow é","arguments":{"city":'
        '{"type":"string"}}},{"name":"time","arguments":{}}]'
    )
    assert tail == "Return only a JSON function call."
    assert user == "User: Rain?"
    assert assistant == (
        'Assistant: Let me see.\n```json\n{"name":"weather","arguments":{"city":"Rome"}}\n```\n'
        '```json\n{"name":"time","arguments":{}}\n```'
    )
    # In the order of the calls, since nothing in the text names them.
    assert first == "User: Function output:\ndry"
    assert second == "User: Function output:\nnoon\nsharp"
    assert last == "Assistant:"


def test_tools_follow_the_system_message():
    system = {"role": "developer", "content": "Be brief."}
    text = RequestTemplate(ChatTemplate(), [TIME]).render([system, USER])
    assert text == (
        "System: Be brief.\nTools:\n- time()\nReturn only a JSON function call.\n\n"
        "User: Rain?\n\nAssistant:"
    )
    assert (
        RequestTemplate(ChatTemplate()).render([system, USER]).startswith("System: Be brief.\n\n")
    )


def test_a_template_that_knows_no_tools_gets_text():
    source = (
        "{% for m in messages %}{% if m.role not in ('system', 'user', 'assistant') %}"
        "{{ raise_exception('what role') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    text = RequestTemplate(ChatTemplate(source), [TIME]).render(TURNS)
    assert text.startswith("[system]Tools:\n")
    assert text.count("[user]") == 3
    source += "{# in the form of <tool_call> #}"
    text = RequestTemplate(ChatTemplate(source), [TIME]).render(TURNS)
    assert text.startswith("[system]# Tools\n")
    assert text.count("[user]") == 2
    assert "<tool_response>\ndry\n</tool_response>\n<tool_response>\nnoon" in text
    assert '</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>' in text
    with pytest.raises(TokenizerError, match="what role"):
        ChatTemplate(source).render(TURNS)


def test_a_template_that_knows_tools_gets_objects_and_writes_what_was_written():
    template = RequestTemplate(ChatTemplate(QWEN), [WEATHER])
    text = template.render(TURNS)
    assert json.loads(text.split("\n")[2]) == WEATHER
    # The very text, although the object's own would have a blank after the colon.
    assert '"arguments": {"city":"Rome"}}' in text
    assert "<tools>" not in RequestTemplate(ChatTemplate(QWEN)).render([USER])
    odd = "[1, 2" * 400
    assert odd in template.render([USER, called(("a", "f", odd))])
    nested = '{"a":' * 100_000
    assert nested in template.render([USER, called(("a", "f", nested))])


def test_a_template_sees_what_transformers_shows_it():
    source = (
        "{{ tools is defined and tools is none }} {{ documents }} {{ x }}"
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments.city }}"
        "{{ c | tojson(indent=1, sort_keys=true) }}{% endfor %}{{ m.name }}{% endfor %}"
    )
    template = RequestTemplate(ChatTemplate(source), (), {"documents": [{"text": "d"}], "x": 1})
    assert template.render([USER]) == "True [{'text': 'd'}] 1"
    text = template.render(TURNS[1:4])
    assert "Rome{\n" in text
    assert text.endswith("weathertime")


@pytest.mark.parametrize(
    ("variables", "end"),
    [
        ({}, "User: Rain?\n\nAssistant:"),
        ({"enable_thinking": True}, "User: Rain?\n\nAssistant: <think"),
        *(
            ({"enable_thinking": False} | effort, "User: Rain?\n\nAssistant: <think>\n</think")
            for effort in ({}, {"reasoning_effort": "none"}, {"reasoning_effort": "minimal"})
        ),
        ({"enable_thinking": False, "thinking_words": ""}, "User: Rain?\n\nAssistant:"),
        *(
            (
                {"enable_thinking": True, "reasoning_effort": effort, "thinking_words": form},
                f"User: Rain? {words if form == 'bare' else f'({words})'}\n\nAssistant: <think",
            )
            for form in ("bare", "parentheses")
            for effort, words in (
                ("low", "think a bit"),
                ("medium", "think"),
                ("high", "think a lot"),
                ("max", "think a lot"),
            )
        ),
    ],
)
def test_how_g1_is_asked_to_think(variables, end):
    template = RequestTemplate(ChatTemplate(), (), variables)
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}]
    start = "User: Hi\n\nAssistant: Hi.\n\n"
    assert template.render([*before, USER]) == start + end
    whole = template.render([*before, USER], add_generation_prompt=False)
    assert whole == start + end.partition("\n\nAssistant")[0]


def test_thoughts_stay_while_calls_are_answered():
    template = RequestTemplate(ChatTemplate(), (), {"enable_thinking": True})
    call = called(("a", "time", "{}"), reasoning_content="\nthe\n\nclock\n")
    turns = [USER, call, result("a", "noon")]
    text = template.render(turns)
    thought = "Assistant: <think>\nthe\n\nclock\n</think>\n```json\n"
    assert thought in text
    assert text.startswith(template.render([USER]))
    later = template.render([*turns, {"role": "assistant", "content": "Noon."}, USER])
    assert "clock" not in later
    assert "clock" not in RequestTemplate(ChatTemplate()).render(turns)


@pytest.mark.parametrize(
    ("source", "syntax"),
    [
        (QWEN, "hermes"),
        ("{{ tools }}[TOOL_CALLS]", "mistral"),
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}<|python_tag|>", "llama"),
        ('{{ tools }}{"name": function name, "parameters": dictionary}', "llama"),
        ("{{ tools }}<tool_call><function=", None),
        ("{{ tools }}", None),
        ("{{ tools }}Function output:", "g1"),
        ("{{ messages }}", "g1"),
        ("{{ messages }}<tool_call>", "hermes"),
        (None, "g1"),
    ],
)
def test_the_template_tells_how_calls_are_written(source, syntax):
    assert ChatTemplate(source).call_syntax == syntax


def test_which_models_think():
    built_in, qwen = ChatTemplate(), ChatTemplate(QWEN)
    assert reasoning_of("auto", built_in, "rwkv7-g1a-0.4b-20250905-ctx4096.pth") == "asked"
    assert reasoning_of("auto", built_in, "RWKV-x070-World-0.4B.pth") == "off"
    assert reasoning_of("auto", qwen, "x") == "asked"
    assert reasoning_of("auto", ChatTemplate("{{ messages }}"), "rwkv7-g1") == "off"
    assert {reasoning_of("on", each, "x") for each in (built_in, qwen)} == {"on"}
    assert {reasoning_of("off", each, "rwkv7-g1") for each in (built_in, qwen)} == {"off"}
