"""Animals, colours and what is bigger, faster or hotter than what."""

from training.talk.nature_tables import (
    ANIMALS,
    BY_HEAT,
    BY_LENGTH,
    BY_PLACE,
    BY_SIZE,
    BY_SPEED,
    BY_TIME,
    COLOUR,
    COLOURS,
    FOOD,
    HOME,
    KIND,
    LEGS,
    MIXTURES,
    MORE_WITH_LEGS,
    SOUND,
    THINGS_BY_WEIGHT,
    YOUNG,
)
from training.talk.script import Script, a, has_words, start

_DIGITS = {"no": "no|0|zero|none", "two": "two|2", "three": "three|3", "four": "four|4",
           "six": "six|6", "eight": "eight|8", "ten": "ten|10"}  # fmt: skip
_LEGS_OF = {name: facts[LEGS] for name, facts in ANIMALS.items()} | MORE_WITH_LEGS


def _animal(c: Script, fact: int) -> tuple[str, str]:
    """An animal that has the fact, and the fact."""
    name = c.rng.choice([name for name, facts in ANIMALS.items() if facts[fact] != "-"])
    return name, ANIMALS[name][fact]


def legs(c: Script) -> None:
    name, number = c.rng.choice(list(_LEGS_OF.items()))
    wordings = (
        "How many legs does {x} have?|how many legs has {x}?|legs of {x}?|How many legs does "
        "{x} have|number of legs of {x}|{x} has how many legs?|How many legs do {s} have?"
        "|how many legs does {x} got|How many legs are there on {x}?|What number of legs does "
        "{x} have?"
    )
    many = plural(name)
    reply = f"{start(a(name))} has {number} legs."
    c.say(wordings, reply, _DIGITS[number], x=a(name), s=many)
    if c.chance(0.3):
        other, number = c.rng.choice(list(_LEGS_OF.items()))
        reply = f"{start(a(other))} has {number} legs."
        c.say("And {x}?|and {x}?|What about {x}?|and how about {x}?", reply, _DIGITS[number],
              x=a(other))  # fmt: skip


def plural(name: str) -> str:
    special = {"mouse": "mice", "wolf": "wolves", "goose": "geese", "sheep": "sheep", "fish":
               "fish", "deer": "deer", "butterfly": "butterflies", "fly": "flies", "donkey":
               "donkeys", "person": "people", "fox": "foxes", "octopus": "octopuses",
               "ostrich": "ostriches", "lady": "ladies", "moose": "moose"}  # fmt: skip
    return special.get(name, f"{name}s")


def sound(c: Script) -> None:
    name, noise = _animal(c, SOUND)
    wordings = (
        "What does {x} say?|what sound does {x} make?|Which sound does {x} make?|what noise does "
        "{x} make|What sound do {s} make?|sound of {x}|how does {x} sound?|{x} says what?"
        "|What is the sound of {x}?|what do {s} say?|{x} goes?|How does {x} go?|Which noise do {s} "
        "make?|What is the noise of {x}?|make the sound of {x}"
    )
    c.say(wordings, f"{start(a(name))} says {noise}.", noise, x=a(name), s=plural(name))
    if c.chance(0.25):
        other, noise = _animal(c, SOUND)
        c.say("And {x}?|what about {x}?|and what does {x} say?", f"{start(a(other))} says {noise}.",
              noise, x=a(other))  # fmt: skip


def which_animal(c: Script) -> None:
    name = c.one("dog", "cat", "cow", "sheep", "duck", "pig", "lion", "owl", "bee", "snake")
    noise = ANIMALS[name][SOUND]
    wordings = (
        "Which animal says {n}?|what animal says {n}|who says {n}?|{n} is the sound of which "
        "animal?|Which animal goes {n}?|What animal makes the sound {n}?|who goes {n}?|What says "
        "{n}?|Which animal makes {n}?|{n} is said by which animal?|name the animal that says {n}"
    )
    both = f"{name}|fly" if noise == "buzz" else f"{name}|tiger" if noise == "roar" else name
    c.say(wordings, f"{start(a(name))} says {noise}.", both, n=noise)


def home(c: Script) -> None:
    name, place = _animal(c, HOME)
    wordings = (
        "Where does {x} live?|where do {s} live?|Where can I find {x}?|home of {x}|Where do I "
        "find {s}?|Where is {x} found?|in what place does {x} live?"
    )
    c.say(wordings, f"{start(a(name))} lives {place}.", _key(place), x=a(name), s=plural(name))


def food(c: Script) -> None:
    name, eats = _animal(c, FOOD)
    wordings = (
        "What does {x} eat?|what do {s} eat?|What do I feed {x}?|food of {x}|What food does {x} "
        "eat?|what can {x} eat|What do {s} like to eat?"
    )
    c.say(wordings, f"{start(a(name))} eats {eats}.", _key(eats), x=a(name), s=plural(name))


def _key(text: str) -> str:
    """A check for one of the longer words of a fact."""
    return "|".join(word.strip(",") for word in text.split() if len(word) > 3) or text


def young(c: Script) -> None:
    name, baby = _animal(c, YOUNG)
    wordings = (
        "What is a baby {x} called?|what do you call a baby {x}?|What is a young {x} called?"
        "|baby {x}?|the young of {a} is called?|What is the name for a baby {x}?|baby {x} name"
    )
    c.say(wordings, f"A baby {name} is called {a(baby)}.", baby, x=name, a=a(name))


def kind(c: Script) -> None:
    name, sort = _animal(c, KIND)
    if c.chance(0.5):
        wordings = (
            "What kind of animal is {x}?|{x} is what kind of animal?|what type of animal is "
            "{x}|what is {x}"
        )
        check = sort
        reply = f"{start(a(name))} is {a(sort)}."
    else:
        asked = sort if c.chance(0.5) else c.one("mammal", "bird", "insect", "fish", "reptile")
        wordings = f"Is {{x}} {a(asked)}?|is {{x}} {a(asked)} or not?|{{x}} is {a(asked)}, right?"
        check = "yes" if asked == sort else "no"
        reply = f"Yes, {a(name)} is {a(sort)}." if asked == sort else f"No, {a(name)} is {a(sort)}."
    c.say(wordings, reply, check, x=a(name))


def can_it(c: Script) -> None:
    name = c.rng.choice(list(ANIMALS))
    verb = c.one("fly", "swim")
    sort = ANIMALS[name][KIND]
    if verb == "fly":
        able = (sort == "bird" and name not in ("penguin", "chicken", "rooster", "turkey")) or (
            name in ("bee", "fly", "butterfly", "beetle")
        )
    else:
        if name in ("bird", "fly", "bee", "butterfly", "beetle", "ant", "spider", "worm", "snail",
                    "chicken", "rooster", "turkey", "crow", "dove", "owl", "eagle", "parrot",
                    "giraffe", "monkey", "hedgehog"):  # fmt: skip
            kind(c)
            return
        able = True
    reply = f"Yes, {a(name)} can {verb}." if able else f"No, {a(name)} cannot {verb}."
    wordings = "Can {x} {v}?|can {s} {v}?|is {x} able to {v}?|do you think {x} can {v}?"
    c.say(wordings, reply, "yes" if able else "no", x=a(name), s=plural(name), v=verb)


def portrait(c: Script) -> None:
    name, facts = c.rng.choice(list(ANIMALS.items()))
    wordings = (
        "Tell me about {x}.|Explain what {x} is.|describe {x}|Tell me something about {s}."
        "|what do you know about {s}?|What can you tell me about {x}?|Tell me a fact about {s}."
    )
    reply = f"{start(a(name))} is {a(facts[KIND])} with {facts[LEGS]} legs. It lives {facts[HOME]}"
    reply += f" and eats {facts[FOOD]}."
    c.say(wordings, reply, name, x=a(name), s=plural(name))
    follow = c.rng.random()
    if follow < 0.25 and facts[SOUND] != "-":
        reply = f"{start(a(name))} says {facts[SOUND]}."
        c.say("What sound does it make?|what does it say?|which sound does it make", reply,
              facts[SOUND])  # fmt: skip
    elif follow < 0.5:
        reply = f"{start(a(name))} eats {facts[FOOD]}."
        c.say("What does it eat?|what does it like to eat?|And what does it eat?", reply,
              _key(facts[FOOD]))  # fmt: skip
    elif follow < 0.75:
        reply = f"{start(a(name))} has {facts[LEGS]} legs."
        c.say("How many legs does it have?|and how many legs?|how many legs has it", reply,
              _DIGITS[facts[LEGS]])  # fmt: skip


def colour(c: Script) -> None:
    thing, value = c.rng.choice(list(COLOURS.items()))
    if c.chance(0.2):
        name, value = _animal(c, COLOUR)
        thing = a(name)
    check = f"{value}|gray" if value == "grey" else value.replace(" and ", " & ")
    wordings = (
        "What colour is {x}?|What color is {x}?|Which colour is {x}?|what colour has {x}?|colour "
        "of {x}|color of {x}?|{x} is what color?|what color is {x}|tell me the colour of {x}"
        "|What is the color of {x}?|Which color does {x} have?"
    )
    c.say(wordings, f"{start(thing)} is {value}.", check, x=thing)
    if c.chance(0.3):
        other, value = c.rng.choice(list(COLOURS.items()))
        check = f"{value}|gray" if value == "grey" else value.replace(" and ", " & ")
        c.say("And {x}?|what about {x}?|and {x}|and the colour of {x}?",
              f"{start(other)} is {value}.", check, x=other)  # fmt: skip


def coloured_thing(c: Script) -> None:
    value = c.one("red", "blue", "green", "yellow", "white", "black", "brown", "orange")
    things = [thing for thing, colour in COLOURS.items() if colour == value]
    wordings = (
        "Name something {v}.|What is {v}?|tell me something {v}|Name a {v} thing.|what things are "
        "{v}?|Which thing is {v}?|something {v}|Give me an example of something {v}.|What do you "
        "know that is {v}?|name a thing that is {v}"
    )
    names = "|".join(thing.removeprefix("a ").removeprefix("an ") for thing in things)
    c.say(wordings, f"{start(things[0])} is {value}.", names, v=value)


def mix(c: Script) -> None:
    (x, y), result = c.rng.choice(list(MIXTURES.items()))
    if c.chance(0.5):
        x, y = y, x
    wordings = (
        "What colour do {x} and {y} make?|mix {x} and {y}|What color do you get when you mix {x} "
        "and {y}?|{x} and {y} make what colour?|what happens if I mix {x} and {y}?"
    )
    c.say(wordings, f"{start(x)} and {y} make {result}.", result, x=x, y=y)


_SCALES = (
    (BY_SIZE, "bigger|larger", "smaller"),
    (THINGS_BY_WEIGHT, "heavier", "lighter"),
    (BY_SPEED, "faster", "slower"),
    (BY_TIME, "longer", "shorter"),
    (BY_LENGTH, "longer", "shorter"),
    (BY_HEAT, "hotter", "colder"),
    (BY_PLACE, "bigger|larger", "smaller"),
)


def scale(c: Script) -> None:
    names, more, less = c.rng.choices(_SCALES, (4, 4, 3, 1.5, 0.7, 1, 1))[0]
    i, j = c.rng.sample(range(len(names)), 2)
    if more == "heavier" or (names is BY_SIZE and c.chance(0.3)):
        more, less = ("heavier", "lighter")
    bare = names is BY_HEAT
    x, y = (names[k] if bare else a(names[k]) for k in (i, j))
    x, y = (z.replace("a hour", "an hour") for z in (x, y))
    word, up = (c.one(more), True) if c.chance(0.65) else (less, False)
    best, other = (x, y) if (i > j) == up else (y, x)
    kind = c.rng.random()
    if kind < 0.7:
        wordings = (
            "Which is {w}, {x} or {y}?|What is {w}, {x} or {y}?|{x} or {y}, which is {w}?|what's "
            "{w}, {x} or {y}|{w}: {x} or {y}?|who is {w}, {x} or {y}?|which one is {w}: {x} or {y}"
            "|Tell me what is {w}, {x} or {y}.|{x} and {y}: which is {w}?|Is {x} or {y} "
            "{w}?|What do "
            "you think is {w}, {x} or {y}?"
        )
        reply, first = f"{start(best)} is {word} than {other}.", best.lower()
        check = has_words(best.removeprefix("a ").removeprefix("an "))
        c.say(wordings, reply, lambda t: check(t.split(" than ")[0]) and len(first) > 0,
              w=word, x=x, y=y)  # fmt: skip
    else:
        right = best == x
        reply = f"Yes, {x} is {word} than {y}." if right else f"No, {y} is {word} than {x}."
        wordings = "Is {x} {w} than {y}?|is {x} {w} than {y}|{x} is {w} than {y}, right?"
        c.say(wordings, reply, "yes" if right else "no", w=word, x=x, y=y)


def animals_of_kind(c: Script) -> None:
    sort = c.one("mammal", "bird", "insect", "reptile")
    names = [name for name, facts in ANIMALS.items() if facts[KIND] == sort]
    wordings = (
        "Name {a}.|give me an example of {a}|Name an animal that is {a}.|which animal is {a}?"
        "|Tell me an animal that is {a}.|What animal is {a}?|an animal that is {a}|Do you know an "
        "animal that is {a}?|Name {a}, please.|example of {a}|Which animal belongs to the {s}s?"
    )
    name = c.rng.choice(names[:3]) if sort != "bird" else "duck"
    c.say(wordings, f"{start(a(name))} is {a(sort)}.", "|".join(names), a=a(sort), s=sort)


def two_animals(c: Script) -> None:
    names = c.rng.sample([n for n, f in ANIMALS.items() if f[KIND] in ("mammal", "bird")], 2)
    wordings = (
        "Do you like {x}?|what do you think about {x}?|are {x} nice?|What do you think of {x}?|do "
        "you love {x}?|Are {x} good animals?|how do you like {x}?|Do you find {x} nice?"
    )
    many = plural(names[0])
    c.say(wordings, f"I like {many}. They are lovely animals.", "like|lovely|nice", x=many)


INTENTS = {
    legs: 2.2, sound: 1.5, which_animal: 0.7, home: 0.8, food: 1.0, young: 1.0, kind: 0.8,
    can_it: 0.5, portrait: 0.9, colour: 2.4, coloured_thing: 0.5, mix: 0.5, scale: 2.2,
    animals_of_kind: 0.7, two_animals: 0.3,
}  # fmt: skip
