"""Short texts with a summary and questions."""

from training.talk.people import JOBS, NAMES, PET_NAMES, PLACES
from training.talk.script import Script, a

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


def _weather(c: Script) -> Text:
    town, first, then = c.rng.choice(PLACES), c.one("rainy|cold|windy"), c.one("sunny|warm|dry")
    who, act = c.rng.choice(NAMES), c.one("stayed at home|read a book|took an umbrella|made tea")
    text = f"It was {first} in {town} in the morning, so {who} {act}. Later it was {then}."
    fields = {"w": who, "t": town}
    return text, f"{who} {act} because it was {first} in {town}.", fields, [
        ("How was the weather in the morning?|what was the weather like in the morning?|How was "
         "the morning?", f"It was {first} in the morning.", first),
        ("How was the weather later?|what was the weather like later?|How did the weather become?",
         f"Later it was {then}.", then),
        ("What did {w} do?|what did {w} do in the morning?|Tell me what {w} did.",
         f"{who} {act}.", act.split()[-1]),
        ("Where was it?|in which city was {w}?|Which city is it about?", f"It was in {town}.",
         town),
    ]  # fmt: skip


def _present(c: Script) -> Text:
    who, friend = c.rng.sample(NAMES, 2)
    thing, colour, age = c.rng.choice(_THINGS), c.rng.choice(_COLOURS), c.rng.randint(6, 80)
    text = f"{who} turned {age} and had a party. {c.one(_EXTRA)}{friend} gave {who} a {colour} "
    text += f"{thing}."
    fields = {"w": who, "f": friend, "t": thing}
    return text, f"{friend} gave {who} a {colour} {thing} for the birthday.", fields, [
        ("How old is {w}?|what age is {w}?|How old did {w} become?", f"{who} is {age} years old.",
         str(age)),
        ("What did {w} get?|what was the present?|What did {f} give to {w}?",
         f"{who} got a {colour} {thing}.", thing),
        ("Who gave the {t}?|who gave {w} a present?|From whom did {w} get the {t}?",
         f"{friend} gave the {thing} to {who}.", friend),
        ("What colour was the {t}?|which colour was the present?|what color is the {t}?",
         f"The {thing} was {colour}.", colour),
    ]  # fmt: skip


def _meal(c: Script) -> Text:
    who, friend = c.rng.sample(NAMES, 2)
    dish, hour = c.one("soup|pasta|pizza|curry|fish|rice"), c.rng.randint(5, 9)
    drink = c.one("tea|water|juice|milk|lemonade")
    text = f"{who} cooked {dish} for {friend}. They ate at {hour} and drank {drink}. "
    text += c.one(_EXTRA).strip()
    fields = {"w": who, "f": friend}
    return text.strip(), f"{who} cooked {dish} for {friend}.", fields, [
        ("What did {w} cook?|what was cooked?|What did they eat?", f"{who} cooked {dish}.", dish),
        ("Who cooked?|who made the food?|Who was the cook?", f"{who} cooked {dish}.", who),
        ("When did they eat?|at what time did they eat?|What time did they eat?",
         f"They ate at {hour}.", str(hour)),
        ("What did they drink?|what did {f} drink?|which drink did they have?",
         f"They drank {drink}.", drink),
    ]  # fmt: skip


def _school(c: Script) -> Text:
    who, friend = c.rng.sample(NAMES, 2)
    subject, day = c.one("maths|history|music|art|biology|English"), c.rng.choice(_DAYS)
    went = c.one("well|badly|very well")
    text = f"{who} had {a(subject)} test on {day}. {friend} helped {who} to learn, and the test "
    text += f"went {went}."
    fields = {"w": who, "f": friend}
    return text, f"{friend} helped {who} with {a(subject)} test.", fields, [
        ("Which subject was the test in?|what was the test about?|Which test did {w} have?",
         f"{who} had {a(subject)} test.", subject),
        ("When was the test?|on which day was the test?|What day was the test?",
         f"The test was on {day}.", day),
        ("Who helped {w}?|who helped?|With whom did {w} learn?", f"{friend} helped {who}.",
         friend),
        ("How did the test go?|how was the test?|Did the test go well?",
         f"The test went {went}.", went.split()[-1]),
    ]  # fmt: skip


TEXTS = (_shopping, _lost, _pet, _work, _trip, _weather, _present, _meal, _school)
