"""Lists without repeats, names, JSON and one-line programs."""

import json

from training.talk.numbers import WORDS
from training.talk.people import JOBS, NAMES, PET_NAMES, PLACES
from training.talk.script import Check, Script, distinct, row, start

_LISTS = {
    "fruits": "apple, banana, orange, pear, cherry, grape, melon, plum, mango, lemon",
    "vegetables": "carrot, potato, onion, tomato, pea, cabbage, bean, spinach, corn, leek",
    "animals": "dog, cat, horse, lion, elephant, rabbit, bear, fox, cow, tiger",
    "farm animals": "cow, pig, sheep, goat, horse, chicken, duck",
    "wild animals": "lion, tiger, elephant, bear, wolf, fox, deer",
    "pets": "dog, cat, rabbit, hamster, fish, parrot, turtle",
    "colours": "red, blue, green, yellow, orange, purple, white, black, brown, pink",
    "birds": "robin, eagle, owl, duck, sparrow, swan, parrot, crow",
    "insects": "ant, bee, fly, butterfly, beetle, mosquito, wasp",
    "fish": "salmon, tuna, shark, trout, cod, carp",
    "trees": "oak, pine, birch, maple, willow, palm, apple tree",
    "flowers": "rose, tulip, daisy, lily, sunflower, violet",
    "sports": "football, tennis, swimming, running, basketball, skiing, cycling",
    "countries": "France, Japan, Brazil, Egypt, Canada, India, Italy, Spain",
    "cities": "Paris, London, Rome, Berlin, Tokyo, Madrid, Cairo, Vienna",
    "drinks": "water, milk, tea, coffee, orange juice, lemonade, cocoa",
    "planets": "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune",
    "jobs": "teacher, doctor, baker, farmer, nurse, pilot, cook",
    "musical instruments": "piano, guitar, violin, drum, flute, trumpet, harp",
    "languages": "English, French, Spanish, German, Italian, Chinese, Japanese",
    "rooms": "kitchen, bedroom, bathroom, living room, hall, cellar",
    "vehicles": "car, bus, train, plane, bicycle, boat, truck",
    "clothes": "shirt, trousers, dress, hat, coat, shoes, socks",
    "tools": "hammer, saw, drill, axe, screwdriver, knife",
    "body parts": "head, hand, foot, eye, nose, mouth, arm, leg",
    "kinds of weather": "sun, rain, snow, wind, fog, storm",
    "school subjects": "maths, history, music, art, English, biology",
    "things in a kitchen": "spoon, fork, knife, plate, cup, pan, oven",
    "foods": "bread, rice, soup, pasta, cheese, salad, pizza",
    "continents": "Africa, Asia, Europe, Australia, North America, South America",
    "months": "January, February, March, April, May, June, July",
    "days": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
    "seasons": "spring, summer, autumn, winter",
    "toys": "ball, doll, kite, puzzle, teddy bear, blocks",
}
LISTS = {kind: items.split(", ") for kind, items in _LISTS.items()}
_COUNT = (
    "Name {n} {k}.|name {n} {k}|List {n} {k}.|Give me {n} {k}.|{n} {k}|tell me {n} {k}|Can you "
    "name {n} {k}?|list {n} {k} please|Write down {n} {k}.|What are {n} {k}?|I need {n} {k}.|{n} "
    "{k}?|Give me a list of {n} {k}.|say {n} {k}|Which {n} {k} do you know?|give {n} examples of "
    "{k}"
)


def _in_order(c: Script, items: list[str], count: int) -> list[str]:
    """Some of the items in the order of the list: so that none comes twice."""
    if c.chance(0.5):
        return items[:count]
    return [items[i] for i in sorted(c.rng.sample(range(len(items)), count))]


def things(c: Script) -> None:
    kind = c.rng.choice(list(LISTS))
    items = LISTS[kind]
    count = c.rng.choices(range(2, 8), (2, 6, 3, 4, 1, 1))[0]
    count = min(count, len(items))
    chosen = _in_order(c, items, count)
    number = WORDS[count] if c.chance(0.65) else count
    check = distinct(count, {item.lower() for item in items})
    c.say(_COUNT, f"{start(row(chosen))}.", check, n=number, k=kind)
    rest = [item for item in items if item not in chosen]
    if c.chance(0.2) and rest:
        check = distinct(1, {item.lower() for item in rest})
        c.say("One more.|another one|one more please|And another?|give me one more",
              f"{start(rest[0])}.", check)  # fmt: skip


def one_thing(c: Script) -> None:
    kind = c.one(
        "fruit|vegetable|animal|colour|bird|sport|country|drink|job|planet|flower|tree|city|insect|"
        "toy|farm animal|tool"
    )
    many = {"country": "countries", "city": "cities"}.get(kind, f"{kind}s")
    article = "an" if kind[0] in "aeiou" else "a"
    wordings = (
        "Name {a} {k}.|name {a} {k}|Tell me {a} {k}.|give me {a} {k}|{a} {k}?|Say the name of {a} "
        "{k}.|give an example of {a} {k}|{a} {k}|Can you name {a} {k}?|Do you know {a} {k}?|Name "
        "any {k}.|What is an example of {a} {k}?|Which {k} do you know?|name one {k}|I need {a} "
        "{k}."
    )
    items = LISTS[many]
    check = distinct(1, {item.lower() for item in items})
    c.say(wordings, f"{start(c.rng.choice(items[:3]))}.", check, a=article, k=kind)


_NAMES_FOR = {
    "cat": "Luna, Milo, Simba, Nala, Tiger, Felix, Coco", "dog": "Rex, Max, Bella, Rocky, Buddy, "
    "Lucky, Daisy", "rabbit": "Snowy, Hoppy, Clover, Coco, Thumper, Daisy",
    "horse": "Star, Thunder, Beauty, Spirit, Lucky, Storm", "bird": "Tweety, Sunny, Kiwi, Rio, "
    "Sky, Polly", "fish": "Bubbles, Goldie, Nemo, Splash, Finn, Coral", "hamster": "Nibbles, "
    "Peanut, Cookie, Biscuit, Hammy, Coco", "boy": "Tom, Ben, Leo, Max, Noah, Jack, Adam",
    "girl": "Anna, Lily, Mia, Emma, Lucy, Ella, Nora", "baby": "Anna, Ben, Lily, Leo, Mia, Noah",
    "robot": "Robo, Bolt, Spark, Chip, Gizmo, Metal Max", "boat": "Sea Star, Blue Wave, Dolphin, "
    "Wind, Hope, Pearl", "dragon": "Blaze, Ember, Storm, Shadow, Spark, Smoky",
    "teddy bear": "Teddy, Honey, Brownie, Cuddles, Fluffy, Bruno", "band": "The Stars, Blue Moon, "
    "The Night Owls, Loud Mice, Red River", "shop": "Corner Shop, Happy Store, Green Leaf, Sunny "
    "Market, The Basket", "parrot": "Polly, Rio, Kiwi, Mango, Coco, Sunny",
    "turtle": "Shelly, Tank, Speedy, Coral, Pebble, Olive",
}  # fmt: skip
NAMES_FOR = {thing: names.split(", ") for thing, names in _NAMES_FOR.items()}


def names(c: Script) -> None:
    thing = c.rng.choice(list(NAMES_FOR))
    pool = NAMES_FOR[thing]
    count = c.rng.choices(range(1, 6), (2, 1, 6, 1, 3))[0]
    if count == 1:
        wordings = (
            "What should I call my {t}?|a name for my {t}?|Give me a name for a {t}.|Suggest a "
            "name for my {t}.|name for a {t}|how should I name my {t}?"
        )
        check = lambda t: any(name.lower() in t.lower() for name in pool)  # noqa: E731
        c.say(wordings, f"How about {pool[0]}?", check, t=thing)
        return
    chosen = _in_order(c, pool, count)
    wordings = (
        "Give me {n} names for a {t}.|{n} names for a {t}|Suggest {n} names for my {t}.|name "
        "ideas: {n} for a {t}|Tell me {n} good names for a {t}.|I need {n} names for my new "
        "{t}.|{n} names for my {t}?|what are {n} nice names for a {t}?|Think of {n} names for a "
        "{t}.|{n} good names for a {t}|I have a new {t}. Give me {n} names.|names for a {t}: {n}"
        "|Invent {n} names for my {t}.|{n} {t} names|list {n} names for a {t}|name my {t}: {n} "
        "ideas"
    )
    check = _several(count)
    number = WORDS[count] if c.chance(0.65) else count
    c.say(wordings, f"{row(chosen)}.", check, n=number, t=thing)


def _several(count: int) -> Check:
    """That many different names; which ones is a matter of taste."""

    def check(reply: str) -> bool:
        items = reply.strip(" .!").replace(" and ", ", ").lower().split(", ")
        return len(items) == count == len(set(items)) and all(len(i) < 20 for i in items)

    return check


_ITEMS = (
    "apple book lamp chair table shirt pen bag clock cup hat ball phone bottle shoe bike".split()
)
_EVENTS = "party meeting concert lesson picnic wedding game lunch dinner exam trip class".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _record(c: Script) -> tuple[str, str, dict[str, object]]:
    """(kind, a sentence with its facts, the object)."""
    r = c.rng
    kind = c.one("person", "order", "event", "book", "animal", "city")
    if kind == "person":
        who, age, town = r.choice(NAMES), r.randint(5, 80), r.choice(PLACES)
        return r.choice([
            (kind, f"{who} is {age} years old.", {"name": who, "age": age}),
            (kind, f"{who} lives in {town}.", {"name": who, "city": town}),
            (kind, f"{who} is {age} years old and lives in {town}.",
             {"name": who, "age": age, "city": town}),
            (kind, f"{who}, {age}, {town}.", {"name": who, "age": age, "city": town}),
            (kind, f"{who}, {age} years old.", {"name": who, "age": age}),
            (kind, f"A person named {who} who is {age}.", {"name": who, "age": age}),
            (kind, f"name {who}, age {age}, city {town}.",
             {"name": who, "age": age, "city": town}),
            (kind, f"{who} is {age} and comes from {town}.",
             {"name": who, "age": age, "city": town}),
            (kind, f"{who} is a {r.choice(JOBS)}.", {"name": who, "job": ""}),
        ])  # fmt: skip
    if kind == "order":
        item, n, price = r.choice(_ITEMS), r.randint(1, 9), r.randint(1, 60)
        return r.choice([
            (kind, f"I order {n} {item}s.", {"item": item, "quantity": n}),
            (kind, f"{n} {item}s, please.", {"item": item, "quantity": n}),
            (kind, f"An order of {n} {item}s for {price} dollars.",
             {"item": item, "quantity": n, "price": price}),
            (kind, f"I want {n} {item}s that cost {price} dollars.",
             {"item": item, "quantity": n, "price": price}),
            (kind, f"{n} {item}s for {price} dollars.",
             {"item": item, "quantity": n, "price": price}),
        ])  # fmt: skip
    if kind == "event":
        what, day, hour = r.choice(_EVENTS), r.choice(_DAYS), r.randint(8, 20)
        return r.choice([
            (kind, f"The {what} is on {day}.", {"title": what, "day": day}),
            (kind, f"We have a {what} on {day}.", {"title": what, "day": day}),
            (kind, f"On {day} at {hour} there is a {what}.",
             {"title": what, "day": day, "time": f"{hour}:00"}),
            (kind, f"The {what} is on {day} at {hour}.",
             {"title": what, "day": day, "time": f"{hour}:00"}),
        ])  # fmt: skip
    if kind == "book":
        who = f"{r.choice(NAMES)} {r.choice(('Hill', 'Reed', 'Brook', 'Stone', 'Wood'))}"
        title = f"The {c.one('Red', 'Old', 'Little', 'Lost')} {r.choice(_ITEMS).capitalize()}"
        return kind, f"{title} by {who}.", {"title": title, "author": who}
    if kind == "animal":
        pet, called = c.one("dog", "cat", "horse", "rabbit"), r.choice(PET_NAMES)
        return kind, f"{called} is a {pet}.", {"name": called, "kind": pet}
    town = r.choice(PLACES)
    return kind, f"{town} has {r.randint(2, 9)} parks.", {"name": town, "parks": 0}


def make_json(c: Script) -> None:
    kind, sentence, record = _record(c)
    if "job" in record:
        record["job"] = sentence.split(" is a ")[1].rstrip(".")
    if "parks" in record:
        record["parks"] = int(sentence.split(" has ")[1].split()[0])
    keys = row(list(record))
    text = json.dumps(record)
    if c.chance(0.65):
        wordings = (
            "{s} Write this as JSON.|JSON: {s}|Turn this into JSON: {s}|{s} Give me JSON with "
            "{k}.|Extract {k} as JSON: {s}|as json: {s}|Convert to JSON: {s}|Make a JSON object "
            "of this: {s}|{s} Answer in JSON with {k}.|json of: {s}|{s} as JSON, please|Write "
            "JSON for this {t}: {s}|Return JSON: {s}|Respond only with JSON: {s}|Make {a} {t} in "
            "JSON: {s}|Give me {a} {t} as JSON: {s}|{s} Put that into JSON.|JSON object for: {s}"
        )
        check = _is_json(record)
    else:
        wordings = (
            "Give me JSON of {a} {t} with {k}.|Write a JSON object of {a} {t} with {k}.|json for "
            "{a} {t} with {k}|Make JSON for {a} {t}: {k}.|Answer with JSON of {a} {t} that has "
            "{k}.|Create {a} {t} as JSON with {k}.|Describe {a} {t} in JSON with the keys {k}."
        )
        check = _is_json(dict.fromkeys(record))
    article = "an" if kind[0] in "aeo" else "a"
    c.say(wordings, text, check, s=sentence, k=keys, a=article, t=kind)
    last = c.exchanges[-1]
    if sentence.lower() in last.user and sentence not in last.user:
        last.user = last.user.replace(sentence.lower(), sentence)  # values keep their capitals


def _is_json(record: dict[str, object]) -> Check:
    def check(reply: str) -> bool:
        try:
            found = json.loads(reply)
        except ValueError:
            return False
        if not isinstance(found, dict) or set(found) != set(record):
            return False
        return all(value is None or found[key] == value for key, value in record.items())

    return check


INTENTS = {things: 3.0, one_thing: 0.7, names: 1.4, make_json: 2.0}
