"""Conversations made from templates: the same seed gives the same conversations.

They decide how a demonstration of the model looks, since a model of this size repeats what it saw.
"""

from random import Random

from training import intents_facts, intents_language, intents_stories
from training.intents_chat import SMALL_TALK

Turns = list[str]
MADE = {**intents_facts.INTENTS, **intents_language.INTENTS, **intents_stories.INTENTS}
SMALL_TALK_SHARE = 0.4
FIRST = 5  # the first entries of SMALL_TALK are greetings: they may open a longer conversation
COMMON = {0: 4.0, 4: 2.5, 5: 3.0, 6: 2.0, 10: 2.5, 12: 2.0, 13: 1.5, 19: 0.5}


def small_talk(rng: Random) -> Turns:
    weights = [COMMON.get(i, 1.0) for i in range(len(SMALL_TALK))]
    questions, answers = rng.choices(SMALL_TALK, weights)[0]
    return [rng.choice(questions), rng.choice(answers)]


def _greeting(rng: Random) -> Turns:
    questions, answers = rng.choice(SMALL_TALK[:FIRST])
    return [rng.choice(questions), rng.choice(answers)]


def _intent(rng: Random) -> Turns:
    if rng.random() < SMALL_TALK_SHARE:
        return small_talk(rng)
    return rng.choices(list(MADE), list(MADE.values()))[0](rng)


def _as_typed(rng: Random, text: str) -> str:
    """A question as people type it: now and then without capitals, stop or courtesy."""
    chance = rng.random()
    if chance < 0.12:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip(".?! ") or text
    if chance > 0.96 and text[0].isupper() and text[1:2].islower():
        text = f"Please {text[0].lower()}{text[1:]}" if text.endswith(".") else text
    return text


def conversation(rng: Random) -> Turns:
    """One to four exchanges; follow-ups that need memory come from the intents themselves."""
    turns = _intent(rng)
    if rng.random() < 0.2:
        turns = _greeting(rng) + turns
    if rng.random() < 0.2:
        turns = turns + _intent(rng)
    return [turn if i % 2 else _as_typed(rng, turn) for i, turn in enumerate(turns)]


def generate(count: int, seed: int) -> list[Turns]:
    """`count` conversations, each a list of user and assistant turns in alternation."""
    rng = Random(seed)
    return [conversation(rng) for _ in range(count)]
