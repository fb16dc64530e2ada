"""Summaries of, and answers about, a short text that the user gives."""

from training.talk.memory import JOBS, NAMES, PET_NAMES, PLACES
from training.talk.script import Script, a, start

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_FOODS = "apples bread cheese milk rice eggs tomatoes carrots pears fish".split()
_SHOPS = "market shop bakery supermarket".split()
_THINGS = "book hat lamp bag kite ball phone ticket letter camera key umbrella".split()
_COLOURS = "red blue green yellow black white brown pink".split()
_ANIMALS = "dog cat rabbit horse parrot mouse".split()
_SPORTS = "football tennis chess basketball hockey".split()
_EXTRA = (
    "The weather was nice. |It was a long day. |Everyone was happy. |It was cold outside. |The sun "
    "was shining. ||||"
)
# text, summary, the fields of the wordings, and (wordings, answer, check) of each question
Text = tuple[str, str, dict[str, str], list[tuple[str, str, str]]]


def _shopping(c: Script) -> Text:
    who, day, shop = c.rng.choice(NAMES), c.rng.choice(_DAYS), c.rng.choice(_SHOPS)
    x, y = c.rng.sample(_FOODS, 2)
    text = f"On {day} {who} went to the {shop}. {c.one(_EXTRA)}{who} bought {x} and {y}."
    fields = {"w": who, "s": shop, "x": x}
    return text, f"{who} bought {x} and {y} at the {shop}.", fields, [
        ("Who went to the {s}?|who was at the {s}?|Who bought {x}?", f"{who} went to the {shop}.",
         who),
        ("What did {w} buy?|what was bought?|which food did {w} buy?", f"{who} bought {x} and {y}.",
         f"{x} & {y}"),
        ("When did {w} go to the {s}?|on which day was it?|Which day was it?",
         f"{who} went to the {shop} on {day}.", day),
        ("Where did {w} go?|where did {w} buy it?|To which place did {w} go?",
         f"{who} went to the {shop}.", shop),
    ]  # fmt: skip


def _lost(c: Script) -> Text:
    who, friend = c.rng.sample(NAMES, 2)
    thing, colour = c.rng.choice(_THINGS), c.rng.choice(_COLOURS)
    where = c.one("garden|kitchen|park|school|bus|car")
    text = f"{who} lost a {colour} {thing}. {c.one(_EXTRA)}{friend} found it in the {where}."
    fields = {"w": who, "f": friend, "t": thing}
    return text, f"{friend} found the {colour} {thing} that {who} lost.", fields, [
        ("Who lost the {t}?|who lost something?", f"{who} lost the {thing}.", who),
        ("Who found the {t}?|who found it?", f"{friend} found the {thing}.", friend),
        ("Where was the {t}?|where was it found?|Where did {f} find the {t}?",
         f"The {thing} was in the {where}.", where),
        ("What colour was the {t}?|what color is the {t}?|Which colour did the {t} have?",
         f"The {thing} was {colour}.", colour),
        ("What did {w} lose?|what was lost?", f"{who} lost a {colour} {thing}.", thing),
    ]  # fmt: skip


def _pet(c: Script) -> Text:
    who, animal, called = c.rng.choice(NAMES), c.rng.choice(_ANIMALS), c.rng.choice(PET_NAMES)
    colour, age = c.rng.choice(_COLOURS), c.rng.randint(2, 12)
    text = f"{who} has a {colour} {animal} called {called}. {called} is {age} years old."
    fields = {"w": who, "a": animal, "b": a(animal), "n": called}
    return text, f"{who} has a {animal} called {called}.", fields, [
        ("What is the {a} called?|what is the name of the {a}?|name of the {a}?",
         f"The {animal} is called {called}.", called),
        ("How old is {n}?|how old is the {a}?|age of {n}?", f"{called} is {age} years old.",
         str(age)),
        ("What colour is {n}?|what color is the {a}?|which colour is {n}?",
         f"{called} is {colour}.", colour),
        ("Who has {b}?|whose {a} is it?|Who has the {a}?", f"{who} has the {animal}.", who),
        ("What animal does {w} have?|which pet does {w} have?", f"{who} has {a(animal)}.", animal),
    ]  # fmt: skip


def _work(c: Script) -> Text:
    who, job, town = c.rng.choice(NAMES), c.rng.choice(JOBS), c.rng.choice(PLACES)
    sport, day = c.rng.choice(_SPORTS), c.rng.choice(_DAYS)
    text = f"{who} is {a(job)} in {town}. Every {day} {who} plays {sport} with friends."
    fields = {"w": who, "p": sport}
    return text, f"{who} is {a(job)} in {town} and plays {sport}.", fields, [
        ("Where does {w} live?|where is {w}?|In which city is {w}?", f"{who} is in {town}.", town),
        ("What is {w}'s job?|what does {w} do for work?|job of {w}?", f"{who} is {a(job)}.", job),
        ("What does {w} play?|which game does {w} play?|Which sport does {w} play?",
         f"{who} plays {sport}.", sport),
        ("When does {w} play {p}?|on which day does {w} play?|which day does {w} play",
         f"{who} plays {sport} every {day}.", day),
    ]  # fmt: skip


def _trip(c: Script) -> Text:
    who, friend = c.rng.sample(NAMES, 2)
    town, by, day = c.rng.choice(PLACES), c.one("train|bus|car|plane|bike"), c.rng.choice(_DAYS)
    saw = c.one("a museum|the zoo|a castle|an old bridge|the river|a big park")
    text = f"{who} and {friend} went to {town} by {by} on {day}. {c.one(_EXTRA)}They saw {saw}."
    fields = {"w": who, "f": friend, "c": town}
    return text, f"{who} and {friend} went to {town} and saw {saw}.", fields, [
        ("Where did they go?|where did {w} and {f} go?|Which city did they visit?",
         f"They went to {town}.", town),
        ("How did they travel?|how did they get there?|by what did they travel?",
         f"They went by {by}.", by),
        ("What did they see?|what did {w} see?|What was there to see?", f"They saw {saw}.",
         saw.split()[-1]),
        ("Who went to {c}?|who was with {w}?|Who travelled?", f"{who} and {friend} went to {town}.",
         friend),
        ("When did they go?|on which day did they go?", f"They went on {day}.", day),
    ]  # fmt: skip


_TEXTS = (_shopping, _lost, _pet, _work, _trip)
_ASK = "{text} {q}|{text}\n{q}|Text: {text} Question: {q}|Read this: {text} {q}|{q} {text}"


def answer(c: Script) -> None:
    """A question about a text, at once or in the turn after it; sometimes a second one."""
    text, _, fields, questions = c.rng.choice(_TEXTS)(c)
    (wordings, reply, check), (again, second_reply, second_check) = c.rng.sample(questions, 2)
    question = c.wording(wordings, fields)[0]
    if c.chance(0.8):
        c.say(_ASK, reply, check, text=text, q=question)
    else:
        given = "{text}|Here is a text: {text}|Read this: {text}"
        c.say(given, "Okay, I have read it.", None, text=text)
        c.say("{q}", reply, check, q=question)
    _keep_names(c, text)
    if c.chance(0.3):
        second = c.wording(again, fields)[0]
        c.say("{q}|And {q}", second_reply, second_check, q=second)


def _keep_names(c: Script, text: str) -> None:
    """What is copied from a text keeps its capitals, so the text is not put into small letters."""
    for exchange in c.exchanges:
        if text.lower() in exchange.user:
            exchange.user = exchange.user.replace(text.lower(), text)


def summary(c: Script) -> None:
    text, short, _, _ = c.rng.choice(_TEXTS)(c)
    wordings = (
        "Summarise this: {x}|Summarize: {x}|summarize this text: {x}|Give me a short summary: {x}"
        "|{x} Summarise this in one sentence.|In one sentence: {x}|tldr: {x}|Make this shorter: {x}"
        "|Shorten this: {x}|What is this text about? {x}|Sum this up: {x}|{x} - in short, please"
    )
    c.say(wordings, short, lambda t: len(t) < len(text) and short.split()[0] in t, x=text)
    _keep_names(c, text)


def title(c: Script) -> None:
    what, who = c.one("cat|dog|boy|girl|king|fox"), c.one("lost|little|happy|brave|tired|hungry")
    text = f"Once there was a {who} {what}. The {what} went home and was never {who} again."
    wordings = (
        "Give this story a title: {x}|What is a good title for this? {x}|title for this story: "
        "{x}|find a title: {x}"
    )
    c.say(wordings, f"The {start(who)} {start(what)}.", what, x=text)


INTENTS = {answer: 2.5, summary: 1.2, title: 0.15}
