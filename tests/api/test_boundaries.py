"""Where the messages of a prompt end, in tokens."""

import pytest

from server.api.boundaries import boundaries_in, token_boundaries
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.chat_template import ChatTemplate

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why, wörld?"}


def parts(messages, template, tokenizer=None, breakpoints=()):
    tokenizer = tokenizer or ByteTokenizer()
    text = template.render(messages)
    ids = tokenizer.encode(text)
    ends = boundaries_in(messages, text, template, breakpoints)
    found = token_boundaries(ends, text, ids, tokenizer)
    return {tokenizer.decode(ids[:count]): kind for count, kind in found.items()}


def test_the_system_message_and_the_last_message():
    template = ChatTemplate()
    both = parts([SYSTEM, USER], template)
    assert both == {
        "System: Be brief.": "system",
        "System: Be brief.\n\nUser: Why, wörld?": "message",
    }
    assert parts([USER], template) == {"User: Why, wörld?": "message"}
    assert parts([SYSTEM], template) == {"System: Be brief.": "system"}
    answer = {"role": "assistant", "content": "Because."}
    assert "System: Be brief." in parts([SYSTEM, USER, answer, USER], template)


def test_a_template_may_refuse_what_is_only_begun():
    refuses = (
        "{% if messages[-1]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }};{% endfor %}{% if add_generation_prompt %}>"
        "{% endif %}"
    )
    assert parts([SYSTEM, USER], ChatTemplate(refuses)) == {"Be brief.;Why, wörld?;": "message"}


def test_what_is_no_beginning_is_no_boundary():
    counts = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert parts([SYSTEM, USER], ChatTemplate(counts)) == {"2Be brief.Why, wörld?": "message"}


def test_breakpoints_lie_where_the_template_leaves_them():
    messages = [SYSTEM, {"role": "user", "content": " A\n\n\nB\nC "}]
    found = parts(messages, ChatTemplate(), breakpoints=[(0, 2), (1, 2), (1, 6), (1, 9)])
    begun = "System: Be brief.\n\nUser: "
    assert found == {
        "System: Be": "breakpoint",
        "System: Be brief.": "system",
        begun + "A": "breakpoint",
        begun + "A\nB": "breakpoint",
        begun + "A\nB\nC": "breakpoint",
    }


def test_a_breakpoint_that_the_template_refuses_is_left_out():
    picky = ChatTemplate(
        "{% for m in messages %}{% if m['content'] | length == 2 %}{{ raise_exception('no') }}"
        "{% endif %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    assert parts([USER], picky, breakpoints=[(0, 1), (0, 3)]) == {
        "Why, wörld?": "message",
        "Why": "breakpoint",
    }


class Pairs(ByteTokenizer):
    """Tokens of up to two bytes, which are not cut where a message ends."""

    def encode(self, text):
        data = text.encode()
        return [int.from_bytes(b"\1" + data[at : at + 2]) for at in range(0, len(data), 2)]

    def token_bytes(self, token_id):
        return token_id.to_bytes(3).lstrip(b"\0")[1:]

    def decode(self, ids):
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")


@pytest.mark.parametrize("content", ["ab", "abc"])
def test_a_token_across_the_end_is_left_out(content):
    template = ChatTemplate("{% for m in messages %}{{ m['content'] }}{% endfor %}"
                            "{% if add_generation_prompt %}>>{% endif %}")  # fmt: skip
    assert parts([{"role": "user", "content": content}], template, Pairs()) == {"ab": "message"}
