"""Templates that came with a model: they render as in this process, and may do what they like."""

import pickle
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.bounded_child import BoundedChild, ChildEndedError
from server.tokenizer import bounded_template
from server.tokenizer.base import TokenizerError
from server.tokenizer.bounded_template import BoundedTemplate, TemplateFailedError
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.request_template import RequestTemplate

SOURCE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.arguments | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{{ x }}{% if add_generation_prompt %}<|im_start|>"
    "assistant\n{% endif %}"
)
USER = {"role": "user", "content": "Hi"}


@pytest.fixture(scope="module")
def bounded():
    return BoundedTemplate(SOURCE, "<s>", "</s>")


@pytest.fixture(scope="module")
def plain():
    return ChatTemplate(SOURCE, "<s>", "</s>")


def test_it_tells_what_a_template_in_this_process_does(bounded, plain):
    for name in ("built_in", "source", "bos_token", "stop", "writes_thoughts", "call_syntax"):
        assert getattr(bounded, name) == getattr(plain, name)
    for variable in ("tools", "x", "documents"):
        assert bounded.knows(variable) == plain.knows(variable)
    speaks = "User: {{ messages[0].content }}<think>"
    assert BoundedTemplate(speaks).stop == ChatTemplate(speaks).stop != ()
    assert BoundedTemplate(speaks).writes_thoughts


@settings(max_examples=50, deadline=None)
@given(
    contents=st.lists(st.text(st.characters(), max_size=30), min_size=1, max_size=4),
    x=st.none() | st.integers(-(10**30), 10**30) | st.floats() | st.lists(st.text(max_size=3)),
    generation=st.booleans(),
)
def test_it_renders_the_same(bounded, plain, contents, x, generation):
    messages = [{"role": "user", "content": content} for content in contents]
    expected = plain.render(messages, generation, {"x": x})
    assert bounded.render(messages, generation, {"x": x}) == expected


def test_calls_are_rendered_as_they_were_written(bounded, plain):
    call = {"id": "1", "function": {"name": "f", "arguments": '{"b" : 1,"a":2}'}}
    messages = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    text = RequestTemplate(bounded, tools).render(messages)
    assert text == RequestTemplate(plain, tools).render(messages)
    assert '<tool_call>{"b" : 1,"a":2}</tool_call>' in text


def test_what_a_template_refuses_is_an_error_of_the_request():
    picky = (
        "{% if messages | length == 1 %}{{ raise_exception('a\nb') }}{% endif %}{{ nothing.at }}"
    )
    with pytest.raises(TokenizerError, match=r"^chat template: a b$") as error:
        BoundedTemplate(picky).render([USER])
    assert not isinstance(error.value, TemplateFailedError)


def test_a_template_that_cannot_be_compiled():
    with pytest.raises(TokenizerError, match="chat template, line 2: "):
        BoundedTemplate("\n{% for %}")
    with pytest.raises(TokenizerError, match="longer than"):
        BoundedTemplate(" " * ((1 << 20) + 1))
    with pytest.raises(TokenizerError, match=r"^chat template: .*"):
        BoundedTemplate("{{ " + "(" * 100_000 + ")" * 100_000 + " }}")


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HUGE = [
    "{{ '%0999999999d' % 1 }}",
    "{{ '%999999999s' % 'a' }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ 'a' | center(999999999) }}",
    "{{ 'a'.ljust(999999999) }}",
    "{{ 'a' | indent(999999999) }}",
    "{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x='aa') %}{% for i in range(40) %}"
    "{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for i in range(40) %}"
    "{% set n.x = n.x.join(n.x) %}{% endfor %}",
]


@pytest.mark.parametrize("source", HUGE)
def test_what_needs_too_much_fails_when_it_is_loaded(source):
    with pytest.raises(TemplateFailedError, match=r"^model's chat template: (needed|took) too"):
        BoundedTemplate(source)


ENDLESS = [
    LOOP,
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set x = range(99999) | list %}{% for a in x %}{{ x | sum }}{% endfor %}",
    "{% for a in range(99999) %}{{ ('a' * 99999) | wordwrap(1) | length }}{% endfor %}",
]


@pytest.mark.parametrize("source", ENDLESS)
def test_what_does_not_end_fails_when_it_is_loaded(source):
    with pytest.raises(TemplateFailedError, match=r"^model's chat template: took too long"):
        BoundedTemplate(source)


def test_what_writes_too_much_is_refused():
    writes = "{% if messages | length == 1 %}{% for a in range(9999) %}{{ 'x' * 999 }}{% endfor %}"
    with pytest.raises(TokenizerError, match=r"renders more than 10\d+ characters"):
        BoundedTemplate(writes + "{% endif %}").render([USER])


def test_after_a_failure_it_goes_on_and_after_some_it_rests(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(bounded_template.time, "monotonic", lambda: now[0])
    template = BoundedTemplate(
        "{% if messages[0].content == 'die' %}{{ '%0999999999d' % 1 }}{% endif %}fine"
    )
    deadly = [{"role": "user", "content": "die"}]

    def fails():
        with pytest.raises(TemplateFailedError) as error:
            template.render(deadly)
        return str(error.value)

    for _ in range(2):
        assert "needed too much memory" in fails()
    assert template.render([USER]) == "fine"  # so the failures are not in a row
    for _ in range(bounded_template.MOST_FAILURES):
        assert "needed too much memory" in fails()
    assert "failed 3 times in a row" in fails()
    with pytest.raises(TemplateFailedError, match="reload the model"):
        template.render([USER])
    now[0] += bounded_template.REST_SECONDS
    assert template.render([USER]) == "fine"


def test_a_child_that_says_nothing_is_ended():
    child = BoundedChild("server.tokenizer.template_program", pickle.dumps((LOOP, "", "")), 1.0)
    child.begin()
    with pytest.raises(ChildEndedError, match="took more than 1 s") as error:
        child.ask(pickle.dumps(([USER], True, {})))
    assert error.value.status == -signal.SIGKILL
    assert not child.is_running


def test_a_child_that_does_not_start():
    child = BoundedChild("server.tokenizer.no_such_program", b"", 20.0)
    with pytest.raises(ChildEndedError, match="ended its process with status 1") as error:
        child.begin()
    assert error.value.status == 1
    with pytest.raises(ChildEndedError, match="ended its process with status 1") as error:
        child.ask(b"not to blame")
    assert error.value.status is None


def test_a_template_of_nobody_ends_its_process():
    template = BoundedTemplate("fine")
    process = template._child._process
    assert process.poll() is None
    del template
    assert process.wait(10) is not None
