"""Words and work that lie outside: rare words, other languages beyond greetings, whole texts."""

from training.talk.script import Script
from training.talk.unknown import IS_HONEST, PLACES, made_up, reply_honestly

_RARE = (
    "ubiquitous ephemeral paradigm obfuscate quixotic serendipity perfidious lugubrious ontology "
    "hegemony esoteric sycophant pernicious cacophony idiosyncrasy tautology zeitgeist hubris "
    "mitigate ameliorate corroborate recalcitrant surreptitious vicarious zealous antithesis"
).split()


def rare_word(c: Script) -> None:
    wordings = (
        "What does {x} mean?|what does the word {x} mean?|meaning of {x}|define {x}|What is the "
        "meaning of {x}?|Explain the word {x}.|definition of {x}|What is the definition of {x}?"
        "|what is another word for {x}?|etymology of {x}|where does the word {x} come from?"
    )
    reply_honestly(c, wordings, x=c.rng.choice(_RARE) if c.chance(0.7) else made_up(c).lower())


def translation(c: Script) -> None:
    """Words of other languages beyond the few greetings."""
    word = c.one("house|dog|water|friend|book|tree|school|apple|mother|bread|river|sky|mountain|"
                 "window|car|to run|to eat|beautiful|I am hungry|where is the station")  # fmt: skip
    language = c.one("French|Spanish|German|Italian|Chinese|Russian|Greek|Latin|Arabic|Hindi")
    wordings = (
        "How do you say {w} in {l}?|what is {w} in {l}?|{w} in {l}|translate {w} to {l}|What is "
        "the {l} word for {w}?|Translate {w} into {l}.|how do I write {w} in {l}?"
    )
    reply_honestly(c, wordings, w=word, l=language)


def task(c: Script) -> None:
    """Work that is beyond the model."""
    thing = c.one("love", "the sea", "my boss", "winter", "climate change", "a hero", "our team")
    wordings = (
        "Write an essay about {x}.|Write a letter to the editor about {x}.|Write a whole book "
        "about "
        "{x}.|write a song about {x}|Compose a haiku about {x}.|Draw a picture of {x}.|Write a "
        "speech about {x}.|fix the bug in my program|Write a website for me.|Plan my trip to "
        "{p}.|do my homework|Play chess with me.|Write an app about {x}.|write an email to my "
        "boss|Make a business plan.|Translate my letter.|build a database for {x}|Write my CV.|a "
        "haiku about {x}|Write a report on {x}.|write a limerick about {x}|make me a logo"
    )
    reply = "I am too small to do that well. I can tell a short story or answer a simple question."
    c.say(wordings, reply, IS_HONEST, x=thing, p=c.one(*PLACES))


INTENTS = {rare_word: 0.7, translation: 0.5, task: 0.9}
