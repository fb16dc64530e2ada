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
        if wanted and self.held:
            return self.rng.choice(wanted), True
        if wanted:
            i = self.rng.choice([i for i, held in enumerate(out) if not held])
            return varied(self.rng, options[i], apart).format(**values), False
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


_OPENINGS = (
    "Hi, ", "Hey, ", "Please ", "Can you tell me: ", "Quick question: ", "So, ", "Ok, ", "Hello! ",
    "Tell me, ", "Tell me: ", "Question: ", "I have a question: ", "Now, ", "I want to know: ",
    "Answer this: ", "Let me ask you: ", "Hey RWKV, ", "And ", "Well, ", "One more: ", "Next: ",
    "My question is: ", "I was wondering: ", "Good morning! ", "Do you know this? ",
)  # fmt: skip
_GREETINGS = ("Hi, ", "Hey, ", "Hello! ", "Ok, ", "So, ", "Well, ", "Good morning! ")
_ENDINGS = (" please", ", please", " thanks", " pls")
_ASKING_ENDINGS = ("? I forgot", "? Thanks!", "? Be brief.", "??", "? Tell me!", ", do you know?")
_TELLS = re.compile(r"(i|i'm|im|my|we|hello|hi|hey|call|this|no|yes|sorry|actually)\b", re.I)
_ASKS = re.compile(r"(what|what's|whats|which|who|how|where|when|why)\b", re.I)


def as_typed(rng: Random, text: str) -> str:
    """A turn as people type it: small letters and missing marks as common as full sentences."""
    chance = rng.random()
    if chance < 0.08 and len(text) > 8 and "\n" not in text:
        first = text if text[:2] in ("I ", "I'") or not text[1:2].islower() else _small(text)
        text = rng.choice(_GREETINGS if _TELLS.match(text) else _OPENINGS) + first
    elif chance < 0.12 and len(text) > 8 and "\n" not in text and not _TELLS.match(text):
        endings = _ASKING_ENDINGS if _ASKS.match(text) else _ENDINGS
        text = text.rstrip(".?!") + rng.choice(endings)
    if rng.random() < 0.3 and "\n" not in text and "{" not in text:
        text = text.lower()
    if rng.random() < 0.35 and text[-1] in ".?!":
        text = text.rstrip(".?! ") or text
    elif rng.random() < 0.06 and text[-1].isalnum():
        text += rng.choice("?.!")
    return text


# How else people put the same words. Each is tried on a wording before it is filled in.
_VARIANTS = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\b([Ww])hat is\b", r"\1hat's"),
        (r"\b([Ww])hat is\b", r"\1hats"),
        (r"\b([Ww])hat's\b", r"\1hat is"),
        (r"\b([Ww])hich\b", r"\1hat"),
        (r"\b([Ww])hat (\w+) (is|does|has|comes)\b", r"\1hich \2 \3"),
        (r"olour\b", "olor"),
        (r"avou?rite\b", "avorite"),
        (r"\bI am\b", "I'm"),
        (r"\bI am\b", "im"),
        (r"\b([Cc])an you\b", r"\1ould you"),
        (r"\bdo you\b", "do u"),
        (r"^(Name|List|Write|Spell|Say|Count|Give|Tell|Make)\b", r"Please \1"),
        (r"^(Name|List|Write|Spell|Say|Count|Give|Tell|Make)\b", r"Can you \1"),
        (r"^[Ww]hat(?: is|'s) ([^,:]+?)\??$", r"Can you tell me what \1 is?"),
        (r"^[Ww]hat(?: is|'s) ([^,:]+?)\??$", r"Do you know what \1 is?"),
        (r"^[Ww]hat(?: is|'s) ([^,:]+?)\??$", r"I want to know what \1 is"),
        (r"^[Hh]ow many (\S+) does (.+) have\??$", r"Tell me how many \1 \2 has"),
        (r"^[Ww]here does (.+) live\??$", r"Do you know where \1 lives?"),
        (r"^[Ww]here is (.+?)\??$", r"Tell me where \1 is."),
        (r"^[Ww]hat does (\S+) (eat|say|mean)\??$", r"I want to know what \1 \2s"),
    )
)
_LETTERS = re.compile(r"(?<![\w{])[a-z]{5,}(?![\w}])")


def varied(rng: Random, wording: str, apart: frozenset[str]) -> str:
    """A wording put differently, or with a slip of the keys, now and then; never a held-out one."""
    result = wording
    if rng.random() < 0.3:
        fitting = [(p, new) for p, new in _VARIANTS if p.search(wording)]
        if fitting:
            pattern, new = rng.choice(fitting)
            result = pattern.sub(new, wording, count=1)
    if rng.random() < 0.05 and (words := list(_LETTERS.finditer(result))):
        word = rng.choice(words)
        i = rng.randrange(word.start() + 1, word.end() - 1)
        slips = (result[i + 1] + result[i], result[i] * 2 + result[i + 1], result[i + 1])
        result = result[:i] + rng.choice(slips) + result[i + 2 :]
    bare = result.lower().strip(" .?!")
    return wording if any(bare == other.lower().strip(" .?!") for other in apart) else result


def _small(text: str) -> str:
    return text[0].lower() + text[1:]


def start(text: str) -> str:
    """With a capital at the start."""
    return text[0].upper() + text[1:]


def a(noun: str) -> str:
    """With its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiouE" else f"a {noun}"


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
