"""What the user told earlier: facts about a person, asked for later, changed, or never told."""

from training.talk import language, memory_facts, memory_things, nature, numbers, small_talk, world
from training.talk.memory_facts import ASK_AGE, ASK_NAME, ASK_PLACE, FactMaker, Told
from training.talk.people import FAVOURITES, PLACES, some_name
from training.talk.script import Intent, Script, has_words

_OTHER: tuple[Intent, ...] = (
    numbers.sums, language.opposite, world.capital, small_talk.small_talk, world.fact, nature.legs,
    nature.colour, world.neighbour, language.plural, nature.scale,
)  # fmt: skip


def _aside(c: Script) -> None:
    """Something else in between, so that memory has to last."""
    while c.chance(0.4) and len(c.exchanges) < 6:
        held, c.held = c.held, False
        c.rng.choice(_OTHER)(c)
        c.held = held


def _tell(c: Script, told: Told) -> None:
    c.say(told.statements, told.reply, told.check, **told.values)


def _ask(c: Script, told: Told) -> None:
    for wordings, reply, check in told.asks:
        c.say(wordings, reply, check, **told.values)


def _remember(c: Script, fact: FactMaker) -> None:
    told = fact(c)
    _tell(c, told)
    _aside(c)
    _ask(c, told)


def name(c: Script) -> None:
    told = memory_facts.name(c)
    _tell(c, told)
    who = str(told.values["x"])
    if c.chance(0.12):
        who = some_name(c.rng)
        wordings = "No, my name is {x}.|Sorry, I meant {x}.|actually my name is {x}|No, I am {x}."
        c.say(wordings, f"Sorry! Nice to meet you, {who}.", who, x=who)
    if c.chance(0.8):
        _aside(c)
        c.say(ASK_NAME, f"Your name is {who}.", who)
    elif c.chance(0.3):
        c.say("And what is your name?|what is your name?|and you?|And who are you?",
              f"My name is RWKV, {who}.", "RWKV")  # fmt: skip


def changed(c: Script) -> None:
    """A favourite that is put right before it is asked for."""
    told = memory_facts.favourite(c)
    _tell(c, told)
    kind = str(told.values["k"])
    item = c.rng.choice([i for i in FAVOURITES[kind] if i != told.values["x"]])
    wordings = (
        "No, it is {x}.|Sorry, I meant {x}.|actually it is {x}|No wait, it is {x}.|I was wrong, it "
        "is {x}.|I changed my mind: it is {x}.|no, {x}"
    )
    answer = f"Your favourite {kind} is {item}."
    c.say(wordings, f"I see, your favourite {kind} is {item}.", item, x=item)
    _aside(c)
    c.say(told.asks[0][0], answer, item, **told.values)


def favourite(c: Script) -> None:
    _remember(c, memory_facts.favourite)


def liking(c: Script) -> None:
    _remember(c, memory_facts.liking)


def pet(c: Script) -> None:
    _remember(c, memory_facts.pet)


def place(c: Script) -> None:
    _remember(c, memory_facts.place)


def age(c: Script) -> None:
    _remember(c, memory_facts.age)


def number(c: Script) -> None:
    _remember(c, memory_facts.number)


def word(c: Script) -> None:
    _remember(c, memory_facts.word)


def job_or_hobby(c: Script) -> None:
    _remember(c, memory_facts.job if c.chance(0.5) else memory_facts.hobby)


def relative(c: Script) -> None:
    _remember(c, memory_things.relative)


def possession(c: Script) -> None:
    _remember(c, memory_things.possession if c.chance(0.5) else memory_things.put)


def plan(c: Script) -> None:
    _remember(c, memory_things.plan)


def two_facts(c: Script) -> None:
    """Two facts in one turn, and one or both asked for."""
    who, town, n = some_name(c.rng), some_name(c.rng, PLACES), c.rng.randint(5, 80)
    wordings = (
        "I am {x} and I live in {t}.|My name is {x} and I am from {t}.|I'm {x} from {t}|Hi, I'm "
        "{x}, I live in {t}.|my name is {x}, I live in {t}|Hello! I am {x}. I come from {t}.|I am "
        "called {x} and my home is in {t}."
    )
    if c.chance(0.35):
        wordings = (
            "I am {x} and I am {n} years old.|My name is {x}. I am {n}.|I'm {x}, {n} years old"
            "|Hello, I am {x} and {n} years old.|my name is {x} and my age is {n}"
        )
        town = ""
    c.say(wordings, f"Nice to meet you, {who}! How can I help you?", who, x=who, t=town, n=n)
    _aside(c)
    second = (
        (ASK_PLACE, f"You live in {town}.", town)
        if town
        else (ASK_AGE, f"You are {n} years old.", str(n))
    )
    asks = [(ASK_NAME, f"Your name is {who}.", who), second]
    c.rng.shuffle(asks)
    for wordings, reply, check in asks[: c.rng.randint(1, 2)]:
        c.say(wordings, reply, check)


_FACTS: tuple[FactMaker, ...] = (
    memory_facts.name, memory_facts.favourite, memory_facts.pet, memory_facts.place,
    memory_facts.age, memory_facts.number, memory_facts.job, memory_things.relative,
    memory_things.possession,
)  # fmt: skip


def several_facts(c: Script) -> None:
    """Two or three facts, a turn for each, and some of them asked for."""
    chosen = [fact(c) for fact in c.rng.sample(_FACTS, 2 if c.chance(0.7) else 3)]
    for told in chosen:
        _tell(c, told)
    if c.chance(0.3):
        _aside(c)
    c.rng.shuffle(chosen)
    for told in chosen[: c.rng.randint(1, len(chosen))]:
        _ask(c, told)


def never_told(c: Script) -> None:
    if c.chance(0.4):
        _aside(c)
    what = c.one("name", "age", "favourite colour", "job", "favourite food", "birthday", "city",
                 "phone number", "hobby", "pet's name", "password", "address", "sister's name",
                 "favourite animal", "dog's name")  # fmt: skip
    wordings = (
        "What is my {x}?|what's my {x}?|Do you know my {x}?|my {x}?|tell me my {x}|Can you tell me "
        "my {x}?|guess my {x}|do you remember my {x}?"
    )
    check = has_words("not told|do not know|don't know|no idea|cannot know")
    c.say(wordings, f"You have not told me your {what} yet.", check, x=what)


INTENTS: dict[Intent, float] = {
    name: 2.4, favourite: 1.8, changed: 0.4, liking: 1.6, pet: 1.4, place: 1.4, age: 1.2,
    number: 1.4, word: 0.8, job_or_hobby: 1.2, relative: 1.2, possession: 1.3, plan: 0.9,
    two_facts: 1.2, several_facts: 1.8, never_told: 1.0,
}  # fmt: skip
