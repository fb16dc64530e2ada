"""A conversation in the making, and the split of its wordings into trained and held-out ones.

An intent is a function that fills a Script. It gives every wording of a question as one text with
`|` between them and with {names} to fill in. Some wordings, and some pairs of a wording and what is
filled in, are held out by a hash: training never shows them, the evaluation shows nothing else.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random

Check = Callable[[str], bool]
Intent = Callable[["Script"], None]


class Retry(Exception):
    """There is no wording on the wanted side of the split: make another conversation."""


@dataclass
class Exchange:
    """What the user says, the reply to learn, and whether a reply is right (None: any is)."""

    user: str
    reply: str
    check: Check | None
    held: bool


@dataclass
class Script:
    """One conversation; `held` asks for held-out wordings where there are any."""

    rng: Random
    held: bool = False
    exchanges: list[Exchange] = field(default_factory=list)

    def say(
        self, wordings: str, reply: str, check: str | Check | None = None, **values: object
    ) -> None:
        """Add one exchange; a check in words is one for has_words."""
        if isinstance(check, str):
            check = has_words(check)
        text, held = self.wording(wordings, values)
        self.exchanges.append(Exchange(as_typed(self.rng, text), reply, check, held))

    def wording(self, wordings: str, values: dict[str, object]) -> tuple[str, bool]:
        """One of the wordings, filled in, and whether it is held out."""
        options = wordings.split("|")
        filled = [option.format(**values) for option in options]
        apart = held_out(wordings)
        out = [
            option in apart or (bool(values) and _bucket(f"{option}={text.lower()}") % 20 == 0)
            for option, text in zip(options, filled, strict=True)
        ]
        wanted = [text for text, held in zip(filled, out, strict=True) if held == self.held]
        if wanted:
            return self.rng.choice(wanted), self.held
        if self.held:
            return self.rng.choice(filled), False
        raise Retry

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def one(self, *options: str) -> str:
        """One of the options: of a single one its parts between `|`."""
        return self.rng.choice(options if len(options) > 1 else options[0].split("|"))

    @property
    def turns(self) -> list[str]:
        return [turn for e in self.exchanges for turn in (e.user, e.reply)]


def _bucket(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


@cache
def held_out(wordings: str) -> frozenset[str]:
    """The held-out ones: one in six, at least one of four or more, but never the first."""
    later = wordings.split("|")[1:]
    apart = {option for option in later if _bucket(option) % 7 == 0}
    if len(later) >= 3:
        apart.add(min(later, key=_bucket))
    return frozenset(apart)


_OPENINGS = ("Hi, ", "Hey, ", "Please ", "Can you tell me: ", "Quick question: ", "So, ", "Ok, ")
_ENDINGS = (" please", ", please", " thanks", " pls")


def as_typed(rng: Random, text: str) -> str:
    """A turn as people type it: small letters and missing marks as common as full sentences."""
    chance = rng.random()
    if chance < 0.05 and len(text) > 8 and "\n" not in text:
        first = text if text[:2] in ("I ", "I'") or not text[1:2].islower() else _small(text)
        text = rng.choice(_OPENINGS) + first
    elif chance < 0.09 and len(text) > 8 and text[-1].isalnum() and "\n" not in text:
        text += rng.choice(_ENDINGS)
    if rng.random() < 0.3 and "\n" not in text and "{" not in text:
        text = text.lower()
    if rng.random() < 0.35 and text[-1] in ".?!":
        text = text.rstrip(".?! ") or text
    elif rng.random() < 0.06 and text[-1].isalnum():
        text += rng.choice("?.!")
    return text


def _small(text: str) -> str:
    return text[0].lower() + text[1:]


def start(text: str) -> str:
    """With a capital at the start."""
    return text[0].upper() + text[1:]


def a(noun: str) -> str:
    """With its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def row(items: list[str] | tuple[str, ...], word: str = "and") -> str:
    """Items as a sentence has them: x, y and z."""
    return f"{', '.join(items[:-1])} {word} {items[-1]}" if len(items) > 1 else items[0]


def table(text: str) -> dict[str, str]:
    """A table written as `key: value, key: value`, over any number of lines."""
    parts = (part.split(":") for part in " ".join(text.split()).split(","))
    return {key.strip(): value.strip() for key, value in (p for p in parts if len(p) == 2)}


def has_words(wanted: str) -> Check:
    """A check that each of the parts between `&` is said, in one of its forms between `|`."""
    parts = [[form.strip().lower() for form in part.split("|")] for part in wanted.split("&")]

    def check(reply: str) -> bool:
        reply = reply.lower()
        return all(
            any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", reply) for form in forms)
            for forms in parts
        )

    return check


def exactly(wanted: str) -> Check:
    """A check that nothing else is said, but for case and marks around it."""
    return lambda reply: reply.strip(" .!?\"'").lower() == wanted.strip(" .!?\"'").lower()


def one_of(answers: tuple[str, ...]) -> Check:
    """A check that a reply begins like one of the answers."""
    begins = tuple(re.split(r"(?<=[.!?]) ", answer)[0].lower() for answer in answers)
    return lambda reply: reply.strip().lower().startswith(begins)


def distinct(count: int, pool: set[str]) -> Check:
    """A check for exactly `count` different items, all of them in `pool` (small letters)."""

    def check(reply: str) -> bool:
        parts = re.split(r",|\band\b|\n", reply.strip(" .!").lower())
        items = [re.sub(r"^\d+\.", "", part).strip(" .!") for part in parts if part.strip()]
        return len(items) == count == len(set(items)) and set(items) <= pool

    return check


def facts(text: str) -> tuple[tuple[str, str, str], ...]:
    """(wordings, answer, check) of each fact of a text; see facts_daily_life.py for its form."""
    result = []
    for paragraph in text.strip().split("\n\n"):
        wordings, answer, check = paragraph.replace("|\n", "|").replace("\n", " ").split(" = ")
        result.append((wordings.strip(), answer.strip(), check.strip()))
    return tuple(result)
