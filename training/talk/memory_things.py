"""What users tell about people, things and plans of theirs."""

from training.talk.memory_facts import Told
from training.talk.people import FAVOURITES, PLACES, RELATIVES, THINGS, some_name
from training.talk.script import Script


def relative(c: Script) -> Told:
    who, called = c.rng.choice(RELATIVES), some_name(c.rng)
    wordings = (
        "My {r} is called {n}.|My {r}'s name is {n}.|I have a {r} named {n}.|{n} is my {r}.|the "
        "name of my {r} is {n}|my {r} is {n}|I have a {r} called {n}.|My {r} has the name {n}."
        "|This is my {r} {n}."
    )
    asks = [
        ("What is my {r}'s name?|what is my {r} called?|who is my {r}?|What is the name of my {r}?"
         "|name of my {r}?|my {r}'s name?|do you remember the name of my {r}?|How is my {r} called?"
         "|tell me the name of my {r}|What's my {r}'s name?",
         f"Your {who} is called {called}.", called),
        ("Who is {n}?|who is {n}|do you know who {n} is?|Tell me who {n} is.|Do you remember {n}?",
         f"{called} is your {who}.", who),
    ]  # fmt: skip
    ask = asks[0] if c.chance(0.7) else asks[1]
    return Told(wordings, f"{called} is a nice name!", called, [ask], {"r": who, "n": called})


def possession(c: Script) -> Told:
    thing, colour = c.rng.choice(THINGS), c.rng.choice(FAVOURITES["colour"])
    wordings = (
        "My {t} is {c}.|I have a {c} {t}.|I bought a {c} {t}.|my new {t} is {c}|the colour of my "
        "{t} is {c}|I got a {c} {t}|I painted my {t} {c}.|There is a {c} {t} in front of me."
    )
    asks = (
        "What colour is my {t}?|what color is my {t}?|which colour is my {t}?|colour of my {t}?"
        "|What is the colour of my {t}?|which colour does my {t} have?|do you remember the colour "
        "of my {t}?|What colour was the {t}?"
    )
    reply = f"A {colour} {thing} sounds nice!"
    return Told(wordings, reply, colour, [(asks, f"Your {thing} is {colour}.", colour)],
                {"t": thing, "c": colour})  # fmt: skip


def put(c: Script) -> Told:
    thing = c.one("book|hat|lamp|bag|ball|phone|ticket|letter|camera|key|umbrella|cup")
    where = c.one("kitchen|garden|car|bathroom|cellar|office|drawer|box|cupboard|hall|school")
    wordings = (
        "I put my {t} in the {w}.|my {t} is in the {w}|I left my {t} in the {w}.|The {t} is in the "
        "{w}.|I have put the {t} in the {w}.|Remember that my {t} is in the {w}.|my {t} lies in "
        "the {w}|I forgot my {t} in the {w}."
    )
    asks = (
        "Where is my {t}?|where did I put my {t}?|where's my {t}?|Where did I leave my {t}?|in "
        "which place is my {t}?|Do you know where my {t} is?|where is the {t}?|tell me where my "
        "{t} is|Where can I find my {t}?"
    )
    reply = f"Okay, your {thing} is in the {where}."
    return Told(wordings, reply, where, [(asks, f"Your {thing} is in the {where}.", where)],
                {"t": thing, "w": where})  # fmt: skip


def plan(c: Script) -> Told:
    town = some_name(c.rng, PLACES)
    day = c.one("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
    wordings = (
        "I am going to {p} on {d}.|On {d} I will go to {p}.|on {d} I travel to {p}|I will visit "
        "{p} on {d}.|My trip to {p} is on {d}.|I fly to {p} on {d}|we go to {p} on {d}|Next {d} I "
        "go to {p}."
    )
    asks = [
        ("Where am I going?|where will I go?|Where do I travel to?|which city will I visit?|Where "
         "do I want to go?|where is my trip to?|where do I go on {d}?|Where did I say I will go?",
         f"You are going to {town}.", town),
        ("When am I going?|when will I go to {p}?|on which day is my trip?|When is my trip?|which "
         "day do I travel?|What day do I go?|when do I go to {p}?|On which day do I go to {p}?",
         f"You are going on {day}.", day),
    ]  # fmt: skip
    return Told(wordings, f"Have a good trip to {town}!", town, [c.rng.choice(asks)],
                {"p": town, "d": day})  # fmt: skip
