"""Conversations about words: opposites, plurals, rhymes, spelling, repeating, sentences."""

from random import Random

from training.words import ANIMALS, NAMES, OPPOSITES, PAST_TENSES, PLURALS, RHYMES

Turns = list[str]
SENTENCES = (
    "The cat sleeps on the sofa.",
    "I like to read books.",
    "The sun is warm today.",
    "We go to school by bus.",
    "My friend has a red bike.",
    "The bird sings in the tree.",
    "She drinks a cup of tea.",
    "They play in the garden.",
    "He has a big dog.",
    "It is cold in winter.",
    "The little boy runs home.",
    "Good things take time.",
)
LONG_SENTENCES = (
    ("The big brown dog, which was very tired, slept all day in the sun.", "The tired dog slept."),
    ("My little sister likes to eat sweet red apples every morning.", "My sister likes apples."),
    ("Because it was raining very hard, we stayed at home and read books.", "We stayed at home."),
    ("The old man walked slowly down the long road to the village.", "The old man walked."),
    ("After a long and busy day at school, the children were tired.", "The children were tired."),
    ("In the early morning the birds sing beautiful songs in the trees.", "The birds sing."),
    ("The train to the city was late, so many people had to wait.", "The train was late."),
)


def opposite(rng: Random) -> Turns:
    word, other = rng.choice(sorted(OPPOSITES.items()))
    questions = [
        f"What is the opposite of {word}?",
        f'What is the opposite of "{word}"?',
        f"Opposite of {word}?",
        f"Tell me the opposite of {word}.",
    ]
    turns = [rng.choice(questions), f"The opposite of {word} is {other}."]
    if rng.random() < 0.35:
        second, second_other = rng.choice(sorted(OPPOSITES.items()))
        turns += [f"And of {second}?", f"The opposite of {second} is {second_other}."]
    return turns


def plural(rng: Random) -> Turns:
    word, many = rng.choice(sorted(PLURALS.items()))
    questions = [f"What is the plural of {word}?", f"Plural of {word}?"]
    if rng.random() < 0.3:
        return [f"One {word}, two ...?", f"One {word}, two {many}."]
    return [rng.choice(questions), f"The plural of {word} is {many}."]


def past_tense(rng: Random) -> Turns:
    word, past = rng.choice(sorted(PAST_TENSES.items()))
    questions = [f"What is the past tense of {word}?", f"Past tense of {word}?"]
    return [rng.choice(questions), f"The past tense of {word} is {past}."]


def rhyme(rng: Random) -> Turns:
    word, other = rng.choice(sorted(RHYMES.items()))
    questions = [f"What rhymes with {word}?", f"Find a rhyme for {word}.", f"A rhyme for {word}?"]
    return [rng.choice(questions), f"{other.capitalize()} rhymes with {word}."]


def spell(rng: Random) -> Turns:
    word = rng.choice(sorted({*RHYMES, *RHYMES.values(), *ANIMALS}))
    questions = [f"Spell {word}.", f"How do you spell {word}?", f"Can you spell {word}?"]
    return [rng.choice(questions), "-".join(word.upper()) + "."]


def first_letter(rng: Random) -> Turns:
    word = rng.choice(sorted({*RHYMES, *ANIMALS}))
    questions = [f"What is the first letter of {word}?", f"Which letter does {word} start with?"]
    return [rng.choice(questions), f'The first letter of {word} is "{word[0].upper()}".']


def repeat(rng: Random) -> Turns:
    text = rng.choice(SENTENCES) if rng.random() < 0.6 else rng.choice(sorted(OPPOSITES))
    ask = rng.choice(["Repeat after me: {}", "Say: {}", "Please repeat: {}", "Repeat this: {}"])
    return [ask.format(text), text]


def shorten(rng: Random) -> Turns:
    text, short = rng.choice(LONG_SENTENCES)
    ask = rng.choice(["Shorten this: {}", "Make this shorter: {}", "Shorten the sentence: {}"])
    return [ask.format(text), short]


def sentence(rng: Random) -> Turns:
    word = rng.choice(sorted(ANIMALS))
    verb = rng.choice(["sleeps in the sun", "runs home", "is hungry", "plays in the garden"])
    questions = [f'Make a sentence with "{word}".', f"Write a sentence about a {word}."]
    return [rng.choice(questions), f"The {word} {verb}."]


def continue_sentence(rng: Random) -> Turns:
    start, end = rng.choice(sorted(_ENDINGS.items()))
    ask = rng.choice(["Finish the sentence: {} ...", "Continue: {} ...", "Complete: {} ..."])
    return [ask.format(start), f"{start} {end}."]


_ENDINGS = {
    "The cat sat on": "the mat",
    "I like to drink": "a cup of tea",
    "In the morning I": "brush my teeth and eat breakfast",
    "The sun is": "warm and bright",
    "When it rains I": "take my umbrella",
    "Birds can": "fly high in the sky",
    "At night we see": "the moon and the stars",
    "My best friend is": "kind and funny",
    "In winter it is": "cold and it may snow",
    "Once upon a time there was": "a little girl who loved to read",
}


def my_name(rng: Random) -> Turns:
    name = rng.choice(NAMES)
    tell = rng.choice(["My name is {}.", "I am {}.", "I'm {}.", "Hi, I am {}."])
    turns = [tell.format(name), f"Nice to meet you, {name}! How can I help you?"]
    if rng.random() < 0.7:
        if rng.random() < 0.4:
            turns += rng.choice(
                [opposite(rng)[:2], plural(rng), ["How are you?", "I am doing well, thank you!"]]
            )
        questions = ["What is my name?", "What's my name?", "Do you know my name?", "Who am I?"]
        ask = rng.choice(questions)
        turns += [ask, f"Your name is {name}."]
    return turns


def favourite(rng: Random) -> Turns:
    kind, items = rng.choice(
        [
            ("colour", ["red", "blue", "green", "yellow", "purple", "pink"]),
            ("food", ["pizza", "soup", "pasta", "rice", "apple pie", "bread"]),
            ("animal", ["dog", "cat", "horse", "rabbit", "owl"]),
            ("sport", ["football", "tennis", "swimming"]),
        ]
    )
    item = rng.choice(items)
    reply = f"{item.capitalize()} is a nice {kind}! Why do you like it?"
    turns = [f"My favourite {kind} is {item}.", reply]
    return [*turns, f"What is my favourite {kind}?", f"Your favourite {kind} is {item}."]


def pet(rng: Random) -> Turns:
    animal = rng.choice(["dog", "cat", "rabbit", "horse", "bird", "mouse"])
    name = rng.choice(NAMES)
    turns = [f"I have a {animal}. Its name is {name}.", f"{name} is a lovely name for a {animal}!"]
    ask = rng.choice([f"What is the name of my {animal}?", f"What is my {animal} called?"])
    other = ["What animal do I have?", f"You have a {animal}."]
    return turns + rng.choice([[ask, f"Your {animal} is called {name}."], other])


def living_place(rng: Random) -> Turns:
    place = rng.choice(["Paris", "London", "Berlin", "Rome", "Tokyo", "a small village"])
    tell = rng.choice(["I live in {}.", "I am from {}."])
    turns = [tell.format(place), f"How nice! What do you like about {place}?"]
    return [*turns, "Where do I live?", f"You live in {place}."]


INTENTS = {
    opposite: 1.5,
    plural: 1.0,
    past_tense: 0.8,
    rhyme: 0.7,
    spell: 0.7,
    first_letter: 0.5,
    repeat: 1.2,
    shorten: 0.5,
    sentence: 0.5,
    continue_sentence: 0.6,
    my_name: 2.0,
    favourite: 1.0,
    pet: 0.8,
    living_place: 0.6,
}
