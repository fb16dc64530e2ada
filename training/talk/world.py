"""Capitals, countries, planets, days and months, and single facts."""

from training.talk.facts_daily_life import DAILY_LIFE
from training.talk.facts_science import SCIENCE
from training.talk.script import Script, has_words, start
from training.talk.world_tables import (
    CAPITALS,
    CONTINENTS,
    DAYS,
    MONTH_DAYS,
    MONTHS,
    ORDINALS,
    PLANETS,
    SPOKEN,
    UNITS,
)

_FACTS = SCIENCE + DAILY_LIFE


def capital(c: Script) -> None:
    country, city = c.rng.choice(list(CAPITALS.items()))
    wordings = (
        "What is the capital of {x}?|capital of {x}|Which city is the capital of {x}?|capital of "
        "{x}?|Tell me the capital of {x}.|what's the capital of {x}|{x} capital|What's {x}'s "
        "capital?|name the capital of {x}|What city is the capital of {x}?|the capital of {x} is?"
        "|Do you know the capital of {x}?|what is the capital city of {x}?|{x}'s capital?"
    )
    c.say(wordings, f"The capital of {country} is {city}.", city, x=country)
    while c.chance(0.3) and len(c.exchanges) < 3:
        other, city = c.rng.choice(list(CAPITALS.items()))
        wordings = (
            "And of {x}?|and {x}?|What about {x}?|and the capital of {x}?|how about {x}?|and of {x}"
        )
        c.say(wordings, f"The capital of {other} is {city}.", city, x=other)


def country_of(c: Script) -> None:
    country, city = c.rng.choice([(x, y) for x, y in CAPITALS.items() if x != y])
    names = "|".join(x.removeprefix("the ") for x, y in CAPITALS.items() if y == city)
    wordings = (
        "{x} is the capital of which country?|Which country has the capital {x}?|of which country "
        "is {x} the capital?|what country is {x} the capital of?|In which country is {x}?"
        "|where is {x}?|Where is {x} located?|what country is {x} in?|In what country is {x}?"
        "|Where can I find {x}?|{x} is in which country?|Which country is {x} in?|{x} is where?"
        "|Where in the world is {x}?|where do I find {x}?|the country of {x}?"
    )
    c.say(wordings, f"{city} is the capital of {country}.", names, x=city)


def is_capital(c: Script) -> None:
    country, city = c.rng.choice(list(CAPITALS.items()))
    asked = city if c.chance(0.5) else c.rng.choice(list(CAPITALS.values()))
    wordings = (
        "Is {y} the capital of {x}?|is {y} {x}'s capital?|{y} is the capital of {x}, right?|Is the "
        "capital of {x} {y}?|is it true that {y} is the capital of {x}?|{y}: is that the capital "
        "of {x}?"
    )
    if asked == city:
        c.say(wordings, f"Yes, {city} is the capital of {country}.", "yes", x=country, y=asked)
    else:
        reply = f"No, the capital of {country} is {city}."
        c.say(wordings, reply, f"no & {city}", x=country, y=asked)


def continent(c: Script) -> None:
    country, place = c.rng.choice(list(CONTINENTS.items()))
    wordings = (
        "On which continent is {x}?|which continent is {x} in?|what continent is {x} on?"
        "|continent of {x}|{x} is on which continent?|In what continent do I find {x}?"
    )
    c.say(wordings, f"{start(country)} is in {place}.", place, x=country)


def spoken(c: Script) -> None:
    country, language = c.rng.choice(list(SPOKEN.items()))
    wordings = (
        "What language do people speak in {x}?|which language is spoken in {x}?|language of {x}"
        "|What do they speak in {x}?|what is the language of {x}?|in {x} people speak what?"
    )
    c.say(wordings, f"People in {country} speak {language}.", language, x=country)


def planet(c: Script) -> None:
    i = c.rng.randrange(8)
    if c.chance(0.5):
        wordings = (
            "Which is the {n} planet from the sun?|what is the {n} planet?|{n} planet from the "
            "sun|name the {n} planet"
        )
        reply = f"{PLANETS[i]} is the {ORDINALS[i]} planet from the sun."
        c.say(wordings, reply, PLANETS[i], n=ORDINALS[i])
        return
    name = PLANETS[i] if c.chance(0.7) else c.one("the moon", "the sun", "Paris", "London")
    wordings = "Is {x} a planet?|is {x} a planet or not?|{x} is a planet, right?"
    if name in PLANETS:
        c.say(wordings, f"Yes, {name} is a planet.", "yes", x=name)
    else:
        what = {"the moon": "a moon", "the sun": "a star"}.get(name, "a city")
        c.say(wordings, f"No, {name} is {what}.", "no", x=name)


def neighbour(c: Script) -> None:
    names, kind = c.rng.choice([(DAYS, "day"), (MONTHS, "month")])
    i, step = c.rng.randrange(len(names)), c.rng.choice((-1, 1))
    result, word = names[(i + step) % len(names)], "after" if step == 1 else "before"
    wordings = (
        "What {k} comes {w} {x}?|which {k} is {w} {x}?|what comes {w} {x}?|What {k} is {w} {x}?"
        "|{k} {w} {x}|Which {k} comes {w} {x}?|the {k} {w} {x} is?|what {k} do we have {w} {x}?"
    )
    c.say(wordings, f"{result} comes {word} {names[i]}.", result, k=kind, w=word, x=names[i])
    if c.chance(0.2):
        after = names[(i + 2 * step) % len(names)]
        wordings = "And {w} that?|and then?|what comes {w} that?"
        if step < 0:
            wordings = "And {w} that?|what comes {w} that?"
        c.say(wordings, f"{after} comes {word} {result}.", after, w=word)


def today(c: Script) -> None:
    """What tomorrow is if today is a given day."""
    i = c.rng.randrange(7)
    day, step = c.rng.choice((("tomorrow", 1), ("yesterday", -1), ("the day after tomorrow", 2)))
    verb = "was" if step < 0 else "is"
    result = DAYS[(i + step) % 7]
    wordings = (
        "If today is {x}, what day {v} {d}?|today is {x}. what day {v} {d}?|Today is {x}. What {v} "
        "{d}?|it is {x} today, what day {v} {d}?"
    )
    c.say(wordings, f"{start(day)} {verb} {result}.", result, x=DAYS[i], v=verb, d=day)


def month(c: Script) -> None:
    i = c.rng.randrange(12)
    name, days = MONTHS[i], MONTH_DAYS[MONTHS[i]]
    kind = c.rng.random()
    if kind < 0.4:
        wordings = (
            "How many days does {x} have?|days in {x}|how many days are in {x}?|how many days has "
            "{x}?|number of days in {x}"
        )
        more = ", and 29 in a leap year" if days == 28 else ""
        c.say(wordings, f"{name} has {days} days{more}.", str(days), x=name)
    elif kind < 0.75:
        n = ORDINALS[i]
        wordings = (
            "What is the {n} month?|Which month is the {n}?|{n} month of the year|what is the {n} "
            "month of the year?|name the {n} month"
        )
        c.say(wordings, f"{name} is the {n} month.", name, n=n)
    else:
        season = ("winter", "spring", "summer", "autumn")[(i + 1) % 12 // 3]
        wordings = (
            "In which season is {x}?|what season is {x} in?|which season is {x}|is {x} in summer, "
            "autumn, winter or spring?"
        )
        c.say(wordings, f"{name} is in {season}.", season.replace("autumn", "autumn|fall"), x=name)


def day_number(c: Script) -> None:
    i = c.rng.randrange(7)
    wordings = (
        "What is the {n} day of the week?|{n} day of the week|which day of the week is the {n}?"
    )
    reply = f"{DAYS[i]} is the {ORDINALS[i]} day of the week."
    c.say(wordings, reply, DAYS[i], n=ORDINALS[i])


def unit(c: Script) -> None:
    small, big, word, check = c.rng.choice(UNITS)
    article = "an" if big in ("hour", "alphabet") else "a"
    wordings = (
        "How many {s} are in {a} {b}?|{s} in {a} {b}|how many {s} does {a} {b} have?|{a} {b} has "
        "how many {s}?|How many {s} are there in {a} {b}?|number of {s} in {a} {b}|how many {s} "
        "make {a} {b}?|how many {s} in {a} {b}"
    )
    have = "The alphabet" if big == "alphabet" else start(f"{article} {big}")
    reply = f"{have} has {word} {small}."
    article = "the" if big == "alphabet" else article
    c.say(wordings, reply, f"{check}|{word}", s=small, a=article, b=big)


def fact(c: Script) -> None:
    wordings, answer, check = c.rng.choice(_FACTS)
    c.say(wordings, answer, has_words(check))


INTENTS = {
    capital: 3.2, country_of: 1.4, is_capital: 0.7, continent: 0.7, spoken: 0.5, planet: 0.6,
    neighbour: 1.5, today: 0.5, month: 0.9, day_number: 0.2, unit: 1.0, fact: 6.0,
}  # fmt: skip
