"""What users tell about themselves: how it is said, acknowledged, asked for and repeated."""

from collections.abc import Callable
from dataclasses import dataclass, field

from training.talk.people import (
    FAVOURITES,
    HOBBIES,
    JOBS,
    PET_NAMES,
    PETS,
    PLACES,
    some_name,
)
from training.talk.script import Script, a, start
from training.talk.word_tables import SPELLED


@dataclass(frozen=True)
class Told:
    """One fact: its statement, the first reply, and (wordings, reply, check) of each question."""

    statements: str
    reply: str
    check: str
    asks: list[tuple[str, str, str]]
    values: dict[str, object] = field(default_factory=dict)


FactMaker = Callable[[Script], Told]
ASK_NAME = (
    "What is my name?|what's my name?|Do you know my name?|Who am I?|do you remember my "
    "name?|my name?|Can you tell me my name?|what was my name again?|What am I called?"
    "|tell me my name|Do you still know my name?|how am I called?|What did I say my name was?"
    "|Say my name.|do you know who I am?|Who am I again?|can you remember my name?|What was my "
    "name?|have you forgotten my name?|which name did I tell you?|Remember my name?"
)
ASK_PLACE = (
    "Where do I live?|where am I from?|in which city do I live?|Which city do I live in?|do "
    "you remember where I live?|what is my city?|Where do I come from?|Where is my home?|where "
    "did I say I live?|tell me where I live|which place am I from?|Do you know where I live?"
    "|Where was I from again?|my city?|what city am I from?|Where did I say I come from?"
)
ASK_AGE = (
    "How old am I?|what is my age?|my age?|do you remember how old I am?|tell me my age|How old "
    "did I say I am?|What's my age?|do you know my age?|Can you tell me how old I am?|what age am "
    "I?|how many years old am I?|What was my age again?"
)


def name(c: Script) -> Told:
    who = some_name(c.rng)
    wordings = (
        "My name is {x}.|my name is {x}|I am {x}.|I'm {x}|Hi, I am {x}.|Hello, my name is {x}!"
        "|call me {x}|You can call me {x}.|Hi! I'm {x}.|hey, {x} here|My name's {x}.|Please call "
        "me {x}.|They call me {x}.|I go by {x}.|The name is {x}.|Hello, I'm {x}|hello! i am {x}"
        "|Hi there, my name is {x}.|{x} is my name.|This is {x}.|My friends call me {x}.|Good "
        "morning, I am {x}."
    )
    reply = f"Nice to meet you, {who}! How can I help you?"
    return Told(wordings, reply, who, [(ASK_NAME, f"Your name is {who}.", who)], {"x": who})


def favourite(c: Script) -> Told:
    kind = c.rng.choice(list(FAVOURITES))
    item = c.rng.choice(FAVOURITES[kind])
    wordings = (
        "My favourite {k} is {x}.|my favorite {k} is {x}|{x} is my favourite {k}.|I like {x} most "
        "of all {k}s.|The {k} I like best is {x}.|my fav {k} is {x}|{x} is the {k} I like most."
        "|As for {k}s, I like {x} best.|My favourite {k}? {x}.|For me {x} is the best {k}."
    )
    asks = (
        "What is my favourite {k}?|what's my favorite {k}?|Which {k} do I like most?|my favourite "
        "{k}?|do you remember my favourite {k}?|Which {k} do I like best?|what {k} do I like?"
        "|Which {k} did I say I like?|tell me my favourite {k}|What {k} do I like the most?|what "
        "was my favourite {k}?|Do you know my favourite {k}?|which is my favourite {k}?"
    )
    answer = f"Your favourite {kind} is {item}."
    return Told(wordings, f"{start(item)} is a nice choice!", item, [(asks, answer, item)],
                {"k": kind, "x": item})  # fmt: skip


_ASK_LIKING = {
    "food": "What do I like to eat?|which food do I like?|what food do I like?|What did I say I "
    "like to eat?|what do I love to eat?",
    "drink": "What do I like to drink?|which drink do I like?|what drink do I like?|What did I say "
    "I like to drink?|what do I love to drink?",
    "sport": "What do I like to do?|which sport do I like?|what sport do I like?|What do I like to "
    "play?|what did I say I like to do?",
    "animal": "Which animal do I like?|what animal do I like?|Which animals do I like?|what animals"
    " do I love?|Which animal did I say I like?",
}
_ASK_ANY = (
    "What do I like?|what do I love?|What did I say I like?|do you remember what I like?|tell me "
    "what I like|What is it that I like?|what do I enjoy?|Do you know what I like?"
)


def liking(c: Script) -> Told:
    """A plain "I like tea", asked for in general or by its kind."""
    kind = c.rng.choice(list(_ASK_LIKING))
    item = c.rng.choice([item for item in FAVOURITES[kind] if item not in HOBBIES])
    if kind == "animal":
        item = f"{item}s" if item != "fox" else "foxes"
    wordings = (
        "I like {x}.|i love {x}|I really like {x}.|I like {x} a lot.|I enjoy {x}.|I am a fan of "
        "{x}.|I love {x} very much.|{x} is what I like.|I like {x}!|i like {x} so much|You know, I "
        "like {x}."
    )
    are = "are" if item[-1] == "s" else "is"
    reply = f"{start(item)} {are} a nice choice!"
    answer = f"You like {item}."
    asks = [(_ASK_LIKING[kind], answer, item), (_ASK_ANY, answer, item)]
    return Told(wordings, reply, item, [c.rng.choice(asks)], {"x": item})


def pet(c: Script) -> Told:
    animal, called = c.rng.choice(PETS), some_name(c.rng, PET_NAMES)
    wordings = (
        "I have {a}. Its name is {n}.|I have {a} called {n}.|my {x} is called {n}|I have {a} named "
        "{n}.|My {x}'s name is {n}.|we have {a}, {n}|I got {a}. I call it {n}.|{n} is my {x}.|The "
        "name of my {x} is {n}.|I own {a} with the name {n}.|My {x} {n} is very cute.|This is my "
        "{x} {n}."
    )
    reply = f"{called} is a lovely name for {a(animal)}!"
    asks = [
        ("What is the name of my {x}?|what is my {x} called?|what's my {x}'s name?|name of my "
         "{x}?|How is my {x} called?|do you remember the name of my {x}?|Who is my {x}?|What did I "
         "call my {x}?|which name does my {x} have?|tell me my {x}'s name|What do I call my {x}?"
         "|my {x}'s name?|do you know what my {x} is called?",
         f"Your {animal} is called {called}.", called),
        ("What animal do I have?|what pet do I have?|which animal do I have?|do I have a pet?"
         "|Which pet do I have?|what kind of pet do I have?|what kind of animal is {n}?|Who is "
         "{n}?",
         f"You have {a(animal)} called {called}.", f"{animal}|{called}"),
    ]  # fmt: skip
    ask = asks[0] if c.chance(0.65) else asks[1]
    return Told(wordings, reply, called, [ask], {"a": a(animal), "x": animal, "n": called})


def place(c: Script) -> Told:
    town = some_name(c.rng, PLACES)
    wordings = (
        "I live in {x}.|I am from {x}.|i come from {x}|I'm living in {x}.|My home is in {x}.|I'm "
        "from {x}|I come from {x}.|My city is {x}.|I was born in {x} and live there.|we live in "
        "{x}|My home town is {x}.|My family lives in {x}, and so do I.|I moved to {x}.|I have "
        "lived in {x} for years."
    )
    reply = f"How nice! What do you like about {town}?"
    return Told(wordings, reply, town, [(ASK_PLACE, f"You live in {town}.", town)], {"x": town})


def age(c: Script) -> Told:
    n = c.rng.randint(2, 99)
    wordings = (
        "I am {n} years old.|i'm {n}|I am {n}.|my age is {n}|I turned {n} today.|I'm {n} years old"
        "|I will stay {n} until summer.|I have just turned {n}.|My age: {n}|i am {n} now|I became "
        "{n} last week.|Today I am {n} years old."
    )
    asks = [(ASK_AGE, f"You are {n} years old.", str(n))]
    return Told(wordings, f"{n} is a good age!", str(n), asks, {"n": n})


def number(c: Script) -> Told:
    n = c.rng.randint(1, 99) if c.chance(0.7) else c.rng.randint(100, 9999)
    kind = c.one("number", "number", "number", "code", "room", "bus")
    if kind == "number":
        wordings = (
            "Remember the number {n}.|My number is {n}.|my lucky number is {n}|please remember {n}"
            "|The number is {n}.|Keep the number {n} in mind.|I choose the number {n}.|I picked "
            "{n}.|I am thinking of the number {n}.|Keep in mind: {n}|Remember this number: {n}|Do "
            "not forget the number {n}.|remember {n} for me"
        )
        asks = (
            "What is the number?|what number did I say?|which number was it?|What was my number?"
            "|the number?|what is my number|Which number did I tell you?|what was the number?|What "
            "number did I pick?|which number should you remember?|Tell me the number.|do you "
            "remember the number?|Say the number again.|what number did I choose?"
        )
    else:
        wordings = (
            "My {k} is {n}.|The {k} is {n}.|remember my {k}: {n}|My {k} has the number {n}.|the "
            "number of my {k} is {n}|I have {k} {n}."
        )
        asks = (
            "What is my {k}?|what is the {k}?|which {k} do I have?|What is the number of my {k}?"
            "|my {k}?|do you remember my {k}?|Which {k} was it?"
        )
    answer = f"The {kind} is {n}."
    reply = f"Okay, I will remember {n}."
    return Told(wordings, reply, str(n), [(asks, answer, str(n))], {"n": n, "k": kind})


def word(c: Script) -> Told:
    item = c.rng.choice(SPELLED)
    wordings = (
        "Remember the word {x}.|The secret word is {x}.|the password is {x}|my word is {x}|please "
        "remember the word {x}|Remember this word: {x}|The magic word is {x}.|Keep the word {x} in "
        "mind.|Do not forget the word {x}.|My secret word is {x}."
    )
    asks = (
        "What was the word?|what is the secret word?|which word did I say?|what word was it|the "
        "word?|What is the word?|what is the password?|Which word did I tell you?|do you remember "
        "the word?|Tell me the word.|What word did I give you?|Say the word again."
    )
    reply = f"Okay, I will remember {item}."
    return Told(wordings, reply, item, [(asks, f"The word is {item}.", item)], {"x": item})


def job(c: Script) -> Told:
    work = c.rng.choice(JOBS)
    wordings = (
        "I am {a}.|I work as {a}.|my job is {x}|i'm {a}|I am {a} by profession.|I work as {x}|I "
        "have a job as {a}.|My work: I am {a}.|I earn my money as {a}.|I became {a}.|I am working "
        "as {a}."
    )
    asks = (
        "What is my job?|what do I do for work?|what do I work as?|my job?|do you remember my "
        "job?|What did I say my job is?|what do I do?|tell me my job|Which job do I have?|What's "
        "my profession?|how do I earn my money?"
    )
    reply = f"{start(a(work))} has an interesting job!"
    return Told(wordings, reply, work, [(asks, f"You are {a(work)}.", work)],
                {"a": a(work), "x": work})  # fmt: skip


def hobby(c: Script) -> Told:
    item = c.rng.choice(HOBBIES)
    wordings = (
        "My hobby is {x}.|I like {x}.|i love {x}|I enjoy {x}.|my hobby is {x}|I really like {x}."
        "|In my free time I like {x}.|My favourite hobby is {x}.|{x} is my hobby.|I spend my free "
        "time with {x}."
    )
    asks = (
        "What is my hobby?|what do I like?|my hobby?|What do I like to do?|do you remember my "
        "hobby?|what do I love?|What do I do in my free time?|which hobby do I have?|tell me my "
        "hobby|What was my hobby?"
    )
    answer = f"You like {item}."
    return Told(wordings, f"{start(item)} is a nice hobby!", item, [(asks, answer, item)],
                {"x": item})  # fmt: skip
