"""Small talk and explanations, from their tables."""

from training.talk.explanations import EXPLANATIONS
from training.talk.script import Script, one_of
from training.talk.small_talk_table import SMALL_TALK
from training.talk.small_talk_wishes import Entry

FIRST = 5  # the first entries are greetings: they may open a longer conversation
_COMMON = {0: 4.0, 4: 2.5, 5: 3.0, 6: 2.5, 8: 1.5, 9: 1.5, 12: 2.5, 14: 2.0, 15: 1.5}
_WEIGHTS = [_COMMON.get(i, 1.0) for i in range(len(SMALL_TALK))]


def _from(c: Script, entry: Entry) -> None:
    questions, answers = entry
    c.say("|".join(questions), c.rng.choice(answers), one_of(answers))


def small_talk(c: Script) -> None:
    _from(c, c.rng.choices(SMALL_TALK, _WEIGHTS)[0])


def greeting(c: Script) -> None:
    _from(c, c.rng.choice(SMALL_TALK[:FIRST]))


def explain(c: Script) -> None:
    thing, text = c.rng.choice(list(EXPLANATIONS.items()))
    wordings = (
        "What is {x}?|what is {x}|Explain {x}.|Can you explain {x}?|what's {x}?|Tell me what {x} "
        "is.|Explain what {x} is.|define {x}|Tell me about {x}.|Explain {x} to a child.|describe "
        "{x}|What does {x} mean?|Do you know what {x} is?|what do you know about {x}?|Can you "
        "tell me what {x} is?"
        "|what do people mean by {x}?|meaning of {x}|Give me an explanation of {x}.|How would you "
        "explain {x}?|{x}?|explain {x} in one sentence|What exactly is {x}?|say what {x} is"
    )
    c.say(wordings, text, one_of((text,)), x=thing)


INTENTS = {small_talk: 9.0, explain: 3.0}
