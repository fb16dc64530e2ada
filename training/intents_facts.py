"""Conversations about simple facts: colours, animals, numbers, days, capitals, explanations."""

from random import Random

from training.words import (
    ANIMALS,
    CAPITALS,
    COLOURS,
    DAYS,
    EXPLANATIONS,
    LISTS,
    MONTHS,
    NUMBERS,
)

Turns = list[str]


def _fill(rng: Random, questions: list[str], answer: str) -> Turns:
    return [rng.choice(questions), answer]


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _start(text: str) -> str:
    return text[0].upper() + text[1:]


def colour(rng: Random) -> Turns:
    thing, value = rng.choice(sorted(COLOURS.items()))
    questions = [f"What colour is {thing}?", f"What color is {thing}?", f"Which colour is {thing}?"]
    turns = _fill(rng, questions, f"{_start(thing)} is {value}.")
    if rng.random() < 0.35:
        other, other_value = rng.choice(sorted(COLOURS.items()))
        turns += [f"And {other}?", f"{_start(other)} is {other_value}."]
    return turns


def thing_of_colour(rng: Random) -> Turns:
    value = rng.choice(sorted(set(COLOURS.values())))
    things = [thing for thing, c in COLOURS.items() if c == value]
    questions = [f"What is {value}?", f"Name something {value}.", f"Tell me something {value}."]
    return _fill(rng, questions, f"{_start(rng.choice(things))} is {value}.")


def animal_sound(rng: Random) -> Turns:
    animal, facts = rng.choice(sorted(ANIMALS.items()))
    name = _article(animal)
    questions = [
        f"What does {name} say?",
        f"What sound does {name} make?",
        f"Which sound does {name} make?",
        f"What noise does {name} make?",
    ]
    return _fill(rng, questions, f"{_start(name)} says {facts[0]}.")


def animal_home(rng: Random) -> Turns:
    animal, facts = rng.choice(sorted(ANIMALS.items()))
    name = _article(animal)
    questions = [f"Where does {name} live?", f"Where do I find {name}?", f"Where can {name} live?"]
    return _fill(rng, questions, f"{_start(name)} lives {facts[1]}.")


def animal_food(rng: Random) -> Turns:
    animal, facts = rng.choice(sorted(ANIMALS.items()))
    name = _article(animal)
    questions = [f"What does {name} eat?", f"What do I feed {name}?", f"What can {name} eat?"]
    return _fill(rng, questions, f"{_start(name)} eats {facts[2]}.")


def animal_young(rng: Random) -> Turns:
    animal, facts = rng.choice(sorted(ANIMALS.items()))
    questions = [
        f"What is a baby {animal} called?",
        f"What do you call a baby {animal}?",
        f"What is a young {animal} called?",
    ]
    return _fill(rng, questions, f"A baby {animal} is called {_article(facts[3])}.")


def animal_legs(rng: Random) -> Turns:
    animal, facts = rng.choice(sorted(ANIMALS.items()))
    name = _article(animal)
    questions = [f"How many legs does {name} have?", f"How many legs has {name}?"]
    return _fill(rng, questions, f"{_start(name)} has {facts[4]} legs.")


def animal_portrait(rng: Random) -> Turns:
    animal, (sound, home, food, _, legs) = rng.choice(sorted(ANIMALS.items()))
    name = _article(animal)
    questions = [f"Tell me about {name}.", f"What is {name}?", f"Explain what {name} is."]
    answer = f"{_start(name)} is an animal with {legs} legs. It lives {home} and eats {food}."
    turns = _fill(rng, questions, answer)
    if rng.random() < 0.4:
        turns += ["What sound does it make?", f"{_start(name)} says {sound}."]
    return turns


def capital(rng: Random) -> Turns:
    country, city = rng.choice(sorted(CAPITALS.items()))
    questions = [
        f"What is the capital of {country}?",
        f"Which city is the capital of {country}?",
        f"Capital of {country}?",
        f"Tell me the capital of {country}.",
    ]
    turns = _fill(rng, questions, f"The capital of {country} is {city}.".replace("..", "."))
    if rng.random() < 0.35:
        other, other_city = rng.choice(sorted(CAPITALS.items()))
        answer = f"The capital of {other} is {other_city}.".replace("..", ".")
        turns += [rng.choice([f"And of {other}?", f"And {other}?"]), answer]
    return turns


def neighbour_day(rng: Random) -> Turns:
    names, kind = rng.choice([(DAYS, "day"), (MONTHS, "month")])
    i, step = rng.randrange(len(names)), rng.choice([-1, 1])
    word = "after" if step == 1 else "before"
    questions = [f"What {kind} comes {word} {names[i]}?", f"Which {kind} is {word} {names[i]}?"]
    answer = f"{names[(i + step) % len(names)]} comes {word} {names[i]}."
    return _fill(rng, questions, answer)


def calendar(rng: Random) -> Turns:
    facts = [
        ("How many days are in a week?", "A week has seven days."),
        ("How many months are in a year?", "A year has twelve months."),
        ("How many hours are in a day?", "A day has twenty-four hours."),
        ("How many minutes are in an hour?", "An hour has sixty minutes."),
        ("How many days are in a year?", "A year has 365 days, and a leap year has 366."),
        ("How many seasons are there?", "There are four seasons: spring, summer, autumn, winter."),
        ("Name the days of the week.", ", ".join(DAYS) + "."),
        ("What are the days of the week?", ", ".join(DAYS) + "."),
        ("Name the months.", ", ".join(MONTHS) + "."),
        ("What are the months of the year?", ", ".join(MONTHS) + "."),
        ("What is the first month of the year?", "January is the first month of the year."),
        ("What is the last month of the year?", "December is the last month of the year."),
        ("What is the alphabet?", "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z."),
        ("Say the alphabet.", "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z."),
    ]
    return list(rng.choice(facts))


def count(rng: Random) -> Turns:
    last = rng.randint(3, 12)
    numbers = [str(i) for i in range(1, last + 1)]
    if rng.random() < 0.3:
        questions = [f"Count down from {last}.", f"Can you count down from {last}?"]
        return _fill(rng, questions, ", ".join(reversed(numbers)) + ".")
    word = NUMBERS[last] if rng.random() < 0.4 else str(last)
    questions = [f"Count to {word}.", f"Can you count to {word}?", f"Count from 1 to {word}."]
    return _fill(rng, questions, ", ".join(numbers) + ".")


def addition(rng: Random) -> Turns:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    words = rng.random() < 0.2
    left, right = (NUMBERS[a], NUMBERS[b]) if words else (str(a), str(b))
    ask = rng.choice(["What is {}?", "How much is {}?", "{}", "{} = ?", "Calculate {}.", "{}?"])
    if rng.random() < 0.65:
        sign = rng.choice(["plus", "and"]) if words else rng.choice(["+", "plus"])
        return [ask.format(f"{left} {sign} {right}"), f"{a} + {b} = {a + b}."]
    high, low = max(a, b), min(a, b)
    sign = rng.choice(["-", "minus"])
    return [ask.format(f"{high} {sign} {low}"), f"{high} - {low} = {high - low}."]


def multiplication(rng: Random) -> Turns:
    a, b = rng.randint(1, 10), rng.choice([1, 2, 3, 5, 10])
    sign = rng.choice(["times", "x", "*"])
    ask = rng.choice(["What is {}?", "How much is {}?", "Calculate {}."])
    return [ask.format(f"{a} {sign} {b}"), f"{a} x {b} = {a * b}."]


def compare(rng: Random) -> Turns:
    a, b = rng.sample(range(1, 13), 2)
    question = rng.choice(["Which is bigger, {} or {}?", "What is larger: {} or {}?"])
    return [question.format(a, b), f"{max(a, b)} is bigger than {min(a, b)}."]


def next_number(rng: Random) -> Turns:
    n = rng.randint(1, 30)
    questions = [f"What number comes after {n}?", f"What comes after {n}?"]
    return _fill(rng, questions, f"{n + 1} comes after {n}.")


def explain(rng: Random) -> Turns:
    thing, text = rng.choice(sorted(EXPLANATIONS.items()))
    questions = [
        f"What is {thing}?",
        f"Explain {thing}.",
        f"Can you explain what {thing} is?",
        f"Tell me about {thing}.",
        f"What is {thing}? Explain it simply.",
        f"Describe {thing}.",
    ]
    turns = _fill(rng, questions, text)
    if ". " in text and rng.random() < 0.4:
        shorter = text.split(". ")[0].rstrip(".") + "."
        turns += [rng.choice(["Shorter, please.", "Can you make it shorter?"]), shorter]
    return turns


def name_some(rng: Random) -> Turns:
    kind, items = rng.choice(sorted(LISTS.items()))
    n = rng.randint(2, 4)
    chosen = rng.sample(items, n)
    questions = [
        f"Name {NUMBERS[n]} {kind}.",
        f"Name {n} {kind}.",
        f"Tell me {NUMBERS[n]} {kind}.",
        f"List {NUMBERS[n]} {kind}.",
        f"Give me {n} {kind}.",
    ]
    answer = _start(", ".join(chosen[:-1]) + f" and {chosen[-1]}.")
    turns = _fill(rng, questions, answer)
    rest = [item for item in items if item not in chosen]
    if rest and rng.random() < 0.3:
        turns += [rng.choice(["One more, please.", "Another one?"]), _start(rng.choice(rest)) + "."]
    return turns


def is_a(rng: Random) -> Turns:
    kinds = {"fruits": "a fruit", "animals": "an animal", "colours": "a colour"}
    kind, other = rng.choice(sorted(kinds)), rng.choice(sorted(kinds))
    item = rng.choice(LISTS[kind])
    if item == "orange":  # both a fruit and a colour
        item = "red" if kind == "colours" else "apple"
    question = f"Is {item} {kinds[other]}?"
    if kind == other:
        return [question, f"Yes, {item} is {kinds[kind]}."]
    return [question, f"No, {item} is {kinds[kind]}."]


INTENTS = {
    colour: 1.5,
    thing_of_colour: 0.7,
    animal_sound: 1.0,
    animal_home: 0.7,
    animal_food: 0.8,
    animal_young: 0.8,
    animal_legs: 0.6,
    animal_portrait: 1.0,
    capital: 1.5,
    neighbour_day: 1.2,
    calendar: 0.8,
    count: 1.0,
    addition: 2.0,
    multiplication: 0.6,
    compare: 0.6,
    next_number: 0.5,
    explain: 2.5,
    name_some: 1.5,
    is_a: 0.6,
}
