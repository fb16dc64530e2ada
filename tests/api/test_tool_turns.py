"""The turn after calls of tools: it goes on from the state of the answer, or from what was read."""

import json
from dataclasses import replace

import pytest

from server.api.conversation import Conversation
from server.api.generation import GeneratedChoice
from server.api.read_ahead import unread
from server.api.saving import ChatEnding
from server.assistant.arguments import arguments_object
from server.assistant.form import AnswerForm, opening_of
from server.assistant.reader import AnswerReader
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.tokenizer.base import TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.continued_template import ContinuedTemplate
from server.tokenizer.request_template import RequestTemplate
from server.tokenizer.tool_messages import call_text
from tests.api.answers import TOOLS
from tests.tokenizer.test_request_template import QWEN

USER = {"role": "user", "content": "Rain in Rome?"}
ARGUMENTS = '{"city":"Rome","days":[1,2.50]}'
CALL, HERMES_CALL = call_text("weather", ARGUMENTS, "g1"), call_text("weather", ARGUMENTS)
ENCODE, DECODE = ByteTokenizer().encode, ByteTokenizer().decode
TEMPLATES = {"rwkv": ChatTemplate(), "qwen": ChatTemplate(QWEN)}


def conversation(name, **variables):
    """A question to a model that has tools."""
    template = RequestTemplate(TEMPLATES[name], TOOLS, variables)
    return Conversation(template, [USER], tools=TOOLS)


def answered(talk, text):
    """The choice with a text that has been generated."""
    opening = opening_of(talk.prompt())
    syntax = TEMPLATES["qwen" if "<|im_start|>" in talk.prompt() else "rwkv"].call_syntax
    names = tuple(tool["function"]["name"] for tool in TOOLS)
    form = AnswerForm(
        reasons=True, opening=opening, calls=syntax, continued=talk.continues, tool_names=names
    )
    choice = GeneratedChoice([text], ENCODE(text), "stop", reader=AnswerReader(form))
    choice.reader.read(text, is_last=True)
    return choice


def next_prompt(talk, choice, result="dry\n\nand warm", **fields):
    """What a client sends next: the message, and a result for each call."""
    message = choice.answer.as_message() | fields
    calls = message["tool_calls"]
    results = [{"role": "tool", "tool_call_id": each["id"], "content": result} for each in calls]
    return talk.template.render([*talk.followed_by(message), *results])


def read_ahead(talk, choice):
    task = Task(ENCODE(talk.prompt()), SamplingParams(max_tokens=1, seed=0))
    return DECODE(unread(talk, ByteTokenizer(), task, choice))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rwkv", f" {CALL}"),
        ("rwkv", f" Let me see.\n{CALL}\n{call_text('time', '{}', 'g1')}"),
        ("qwen", HERMES_CALL),
    ],
)
def test_calls_come_back_byte_for_byte(name, text):
    talk = conversation(name)
    choice = answered(talk, text)
    assert next_prompt(talk, choice).startswith(talk.prompt() + text)
    assert read_ahead(talk, choice) == ""


def test_thoughts_come_back_while_calls_are_answered():
    talk = conversation("rwkv", enable_thinking=True)
    text = f">\nLook\nit up.\n</think>\n{CALL}"
    choice = answered(talk, text)
    reasoning = choice.answer.reasoning
    sent = next_prompt(talk, choice, reasoning_content=reasoning)
    assert sent.startswith(talk.prompt() + text)
    # Most clients do not send them: what these will send is read ahead.
    read = read_ahead(talk, choice)
    assert "Look" not in read
    assert CALL in read
    assert next_prompt(talk, choice).startswith(read)


@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_in_another_form_are_read_as_they_will_come_back(name):
    talk = conversation(name)
    choice = answered(talk, '<tool_call>{"arguments":{"city": "Rome"}, "name":"weather"}')
    read = read_ahead(talk, choice)
    assert next_prompt(talk, choice).startswith(read)
    other = '{"name": "weather", "arguments": {"city": "Rome"}}'
    assert (other if name == "qwen" else call_text("weather", '{"city":"Rome"}', "g1")) in read


@pytest.mark.parametrize("name", TEMPLATES)
def test_arguments_are_read_as_clients_send_them_that_get_objects(name):
    talk = replace(conversation(name), returns_objects=True)
    choice = answered(
        talk, '<tool_call>{"name":"weather","arguments":{"city" : "R\\u00f6m", "x":2.50}}'
    )
    calls = choice.answer.as_message()["tool_calls"]
    arguments = json.dumps(arguments_object(calls[0]["function"]["arguments"]), ensure_ascii=False)
    assert arguments == '{"city": "Röm", "x": 2.5}'
    calls[0]["function"]["arguments"] = arguments
    read = read_ahead(talk, choice)
    assert next_prompt(talk, choice, tool_calls=calls).startswith(read)
    assert "Röm" in read


@pytest.mark.parametrize("content", ["It is", "  It is"])
def test_a_continued_message_is_one_in_the_next_turn(content):
    template = RequestTemplate(ChatTemplate())
    begun = {"role": "assistant", "content": content}
    talk = Conversation(template, [USER, begun], add_generation_prompt=False, continues=True)
    assert talk.prompt() == "User: Rain in Rome?\n\nAssistant: It is"
    choice = answered(talk, " dry.")
    assert choice.answer.content == " dry."
    assert read_ahead(talk, choice) == ""
    assert ChatEnding(talk).text_after(choice) == " dry."


def test_tools_are_not_shown_again_after_a_state():
    bound = RequestTemplate(ChatTemplate(), TOOLS, {"reasoning_effort": "low"})
    assert ContinuedTemplate(bound).render([USER]) == "\n\nUser: Rain in Rome?\n\nAssistant:"
    thinks = RequestTemplate(
        ChatTemplate(), TOOLS, {"enable_thinking": True, "reasoning_effort": "low"}
    )
    added = ContinuedTemplate(thinks).render([USER])
    assert added == "\n\nUser: Rain in Rome? (think a bit)\n\nAssistant: <think"


def test_a_state_after_an_answer_has_its_calls():
    talk = conversation("rwkv")
    assert ChatEnding(talk).text_after(answered(talk, f" {CALL}\n")) == f" {CALL}"


def test_an_answer_does_not_end_within_its_arguments():
    odd = '{"city": "\\n\\nUser: a\\n\\nSystem: b"}'
    texts = call_text("weather", odd), call_text("weather", odd.replace("\\n", "\n"), "g1")
    assert not any(stop in text for stop in ChatTemplate().stop for text in texts)


def test_a_message_that_the_template_changes_cannot_be_continued():
    template = RequestTemplate(
        ChatTemplate("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    )
    begun = {"role": "assistant", "content": "It is"}
    with pytest.raises(TokenizerError, match="cannot be continued"):
        Conversation(template, [USER, begun], False, continues=True).prompt()
