"""Words that users read: those of the field, not of a private dialect.

The left words are what to say instead. Settings' descriptions are read whole; other texts are to
follow.
"""

import re

import pytest

from server.config import Settings

INSTEAD_OF = {
    r"\bgo(es)? on\b": "continue, resume",
    r"\bmade? anew\b|\bagain made\b": "re-create",
    r"\bis none\b": "is not",
    r"\bmend(s|ed)?\b": "fix",
    r"\bbeside\b": "alongside, next to",
    r"\bblanks?\b": "whitespace, blank lines",
    r"\bthoughts\b": "reasoning",
    r"\bcalls of tools\b": "tool calls",
    r"\banswers?\b|\banswered\b": "completion, reply, response",
    r"\b[Mm]ost\b|\b[Ll]argest\b|\b[Ll]ongest\b": "maximum",
    r"\bnews\b": "update",
    r"\bjunction\b": "branch point",
    r"\bprompts? (is|are) read\b": "prefill",
    r"\bgenerations?\b": "architecture",
    r"\bso (long|many|much)\b": "a number with its unit",
    r"\b[Tt]he same\b": "what it is",
    r"\b[Ss]ee \w": "the fact itself",
    r"\btold\b|\btells?\b": "report, specify",
}
ALLOWED = {
    "most likely",  # of tokens
    "at most",
    "the client with the most",
    "idle the longest",
    "answering 408",
}
FIRST = re.compile(r"^(Of|For|They|It|Its|Their|There)\b")


def descriptions(model, prefix=""):
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from descriptions(field.annotation, f"{prefix}{name}.")
        elif field.description:
            yield f"{prefix}{name}", field.description


FOUND = dict(descriptions(Settings))


def wrong_words(text):
    """What is to be said instead of each word that is not the field's."""
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    return [better for word, better in INSTEAD_OF.items() if re.search(word, text)]


@pytest.mark.parametrize("name", FOUND)
def test_a_description_of_a_setting_stands_alone_in_the_words_of_the_field(name):
    text = FOUND[name]
    assert wrong_words(text) == []
    assert not FIRST.match(text)
    assert text[0].isupper()
    assert text.endswith(".")


def test_the_search_finds_what_it_is_for():
    assert len(FOUND) > 60
    assert wrong_words("A stream that has been silent for so long gets a comment.")
    assert wrong_words("Most bytes of one client's states.")
    assert wrong_words("Requests go on beside others.")
    assert FIRST.match("Of all models; 0: none.")
    assert not wrong_words("Temperature of requests that omit it; 0 picks the most likely token.")
