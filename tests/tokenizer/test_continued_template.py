"""What messages add to a conversation is what the whole conversation has more."""

import pytest

from server.tokenizer.base import TokenizerError
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.continued_template import ContinuedTemplate

FIRST = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "Because."},
]
NEW = [{"role": "user", "content": "Oh."}]

MARKS = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
OWN_SYSTEM = "{% if messages[0].role != 'system' %}<system>I am a model.<end>\n{% endif %}" + MARKS
COUNTS = "{{ messages | length }} messages{% for m in messages %} {{ m.content }}{% endfor %}"
ALTERNATES = (
    "{% for m in messages %}{% if loop.index0 and m.role == 'system' %}"
    "{{ raise_exception('system comes first') }}{% endif %}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize("source", [None, MARKS, OWN_SYSTEM])
@pytest.mark.parametrize("prompts", [True, False])
def test_the_conversation_and_what_is_added_are_the_whole(source, prompts):
    template = ChatTemplate(source, bos_token="<s>")
    added = ContinuedTemplate(template).render(NEW, prompts)
    before = template.render(FIRST, add_generation_prompt=False)
    assert before + added == template.render([*FIRST, *NEW], prompts)
    assert "<s>" not in added


def test_a_template_that_cannot_go_on_begins_anew():
    template = ChatTemplate(COUNTS)
    assert ContinuedTemplate(template).render(NEW) == template.render(NEW) == "1 messages Oh."


def test_what_the_template_refuses_is_refused():
    with pytest.raises(TokenizerError, match="system comes first"):
        ContinuedTemplate(ChatTemplate(ALTERNATES)).render(FIRST)
