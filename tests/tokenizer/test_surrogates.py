"""What a template or a caller makes of half a surrogate pair is text that can be sent."""

import pytest

from server.tokenizer.base import TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.chat_template import ChatTemplate

HELLO = [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    "source",
    [
        r'{{ "\ud800" }}{{ messages[0].content }}',
        r'{{ "\udfff" ~ messages[0].content }}',
        r'{% set x = "\ud83d" %}{{ x }}{{ messages[0].content }}',
    ],
)
def test_a_literal_of_a_template(source):
    text = ChatTemplate(source).render(HELLO)
    assert text == "?a"
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


def test_whole_pairs_stay():
    assert ChatTemplate(r'{{ "\U0001F600" }}é').render(HELLO) == "😀é"


def test_a_message_of_a_template_can_be_shown():
    with pytest.raises(TokenizerError) as caught:
        ChatTemplate(r'{{ raise_exception("\ud800") }}').render(HELLO)
    assert str(caught.value).isprintable()
    str(caught.value).encode()
