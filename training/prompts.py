"""The fixed prompts of the evaluation: each kind of conversation, in held-out wordings only."""

from random import Random

from training.talk.script import Script
from training.templates import GROUPS, run

SEED = 20261
SINGLE, SEVERAL, OUTSIDE = 180, 60, 60
_OUTSIDE = "unknown"
_WITH_MEMORY = ("memory",)


def scripted() -> dict[str, list[tuple[str, Script]]]:
    """300 scripts: "inside" the tables, of "several turns", and "outside"; each with its group."""
    inside = [name for name in GROUPS if name not in (_OUTSIDE, *_WITH_MEMORY)]
    return {
        "inside": _collect(inside, SINGLE, 1),
        "several turns": _collect([*_WITH_MEMORY, *inside], SEVERAL, 2),
        "outside": _collect([_OUTSIDE], OUTSIDE, 1),
    }


def _collect(groups: list[str], count: int, turns: int) -> list[tuple[str, Script]]:
    """`count` different scripts with `turns` exchanges (2: or more), the intents in turn.

    For several turns, every other script is one of memory.
    """
    rng = Random(f"{SEED} {groups} {turns}")
    intents = [(name, intent) for name in groups for intent in GROUPS[name][1]]
    remembering = [pair for pair in intents if pair[0] in _WITH_MEMORY]
    found: dict[str, tuple[str, Script]] = {}
    for i in range(200 * count):
        if len(found) == count:
            break
        pool = remembering if turns > 1 and i % 2 else intents
        name, intent = pool[i // 2 % len(pool) if turns > 1 else i % len(pool)]
        script = run(intent, rng, held=True)
        long_enough = len(script.exchanges) == 1 if turns == 1 else len(script.exchanges) > 1
        last = script.exchanges[-1]
        if long_enough and last.check and any(e.held for e in script.exchanges):
            found.setdefault("\n".join(e.user.lower() for e in script.exchanges), (name, script))
    return list(found.values())


def openings(count: int) -> list[str]:
    """`count` first turns of any kind, in held-out wordings, to sample replies to."""
    rng = Random(f"{SEED} openings")
    intents = [intent for _, group in GROUPS.values() for intent in group]
    return [run(intents[i % len(intents)], rng, held=True).exchanges[0].user for i in range(count)]
