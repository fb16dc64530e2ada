"""Conversations made from templates: the same seed gives the same conversations.

They decide how a demonstration of the model looks, since a model of this size repeats what it saw.
"""

from random import Random

from server.tokenizer.tool_messages import tools_text
from training.talk import (
    code,
    language,
    memory,
    nature,
    numbers,
    other_languages,
    reading,
    small_talk,
    stories,
    tools,
    unknown,
    unknown_work,
    world,
    writing,
)
from training.talk.script import Intent, Retry, Script

Turns = list[str]
# The share of each group of intents; within a group, by the weights of its module.
GROUPS: dict[str, tuple[float, dict[Intent, float]]] = {
    "numbers": (14, numbers.INTENTS),
    "nature": (13, nature.INTENTS),
    "world": (15, world.INTENTS),
    "language": (14, language.INTENTS),
    "other languages": (3, other_languages.INTENTS),
    "small talk": (11, small_talk.INTENTS),
    "memory": (17, memory.INTENTS),
    "unknown": (11, unknown.INTENTS | unknown_work.INTENTS),
    "writing": (8, writing.INTENTS),
    "reading": (6, reading.INTENTS),
    "code": (1.5, code.INTENTS),
    "stories": (1.8, stories.INTENTS),
}
MADE = {intent: name for name, (_, intents) in GROUPS.items() for intent in intents}


def _intent(rng: Random) -> Intent:
    shares = [share for share, _ in GROUPS.values()]
    _, intents = rng.choices(list(GROUPS.values()), shares)[0]
    return rng.choices(list(intents), list(intents.values()))[0]


def run(intent: Intent, rng: Random, held: bool = False) -> Script:
    """One conversation of an intent; with `held`, in held-out wordings where it has any."""
    while True:
        script = Script(rng, held)
        try:
            intent(script)
        except Retry:
            continue
        return script


def conversation(rng: Random) -> Turns:
    """One to six exchanges; follow-ups that need memory come from the intents themselves."""
    turns = run(_intent(rng), rng).turns
    if rng.random() < 0.08:
        turns = run(small_talk.greeting, rng).turns + turns
    while rng.random() < 0.3 and len(turns) < 10:
        intent = _intent(rng)
        if intent is not memory.never_told:  # it may have been told before
            turns = turns + run(intent, rng).turns
    return turns


def generate(count: int, seed: int) -> list[Turns]:
    """`count` conversations, each a list of user and assistant turns in alternation."""
    rng = Random(seed)
    return [conversation(rng) for _ in range(count)]


def generate_calls(count: int, seed: int) -> list[tuple[Turns, str]]:
    """`count` conversations that call a tool, each with the system text that tells of the tool."""
    made, rng = [], Random(seed)
    while len(made) < count:
        script = Script(rng)
        try:
            signatures = tools.call(script)
        except Retry:
            continue
        made.append((script.turns, tools_text(signatures, "g1")))
    return made
