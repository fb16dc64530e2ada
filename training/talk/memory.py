"""What the user told earlier: facts about a person, asked for later, changed, or never told."""

from training.talk import language, numbers, small_talk, world
from training.talk.script import Script, a, has_words, start

NAMES = (
    "Anna Ben Tom Lily Max Sara Leo Mia Sam Emma Jack Lucy Noah Ella Adam Nina Paul Rosa Omar Kim "
    "Amy Dan Zoe Finn Ivy Hugo Ada Alex Maria John Kate Peter Julia David Laura Eva Oscar Nora Tim "
    "Bob Alice Carlos Fatima Yuki Ravi Olga Igor Lena Mark Susan Linda James Robert Mary Michael "
    "Sophie Felix Clara Victor Hannah Simon Grace Henry Ruth Frank Helen George Marta Luis Priya"
).split()
PLACES = (
    "Paris London Berlin Rome Tokyo Madrid Vienna Oslo Dublin Prague Boston Chicago Munich Milan "
    "Lisbon Athens Cairo Sydney Toronto Moscow Delhi Zurich Hamburg Naples Seattle Denver"
).split()
FAVOURITES = {
    "colour": "red blue green yellow purple pink orange black white brown".split(),
    "food": "pizza, soup, pasta, rice, apple pie, bread, salad, cheese, fish, chocolate".split(
        ", "
    ),
    "animal": "dog cat horse rabbit owl lion tiger elephant dolphin penguin".split(),
    "sport": "football tennis swimming running basketball skiing cycling chess".split(),
    "season": "spring summer autumn winter".split(),
    "fruit": "apple banana cherry mango strawberry pear grape".split(),
    "drink": "tea, coffee, milk, water, juice, lemonade, cocoa".split(", "),
    "subject": "maths history music art English biology".split(),
    "day": "Friday Saturday Sunday Monday".split(),
}
PETS = "dog cat rabbit horse bird mouse fish hamster turtle parrot".split()
PET_NAMES = (
    "Rex Luna Max Bella Milo Coco Rocky Daisy Leo Nala Simba Lucky Oscar Molly Buddy".split()
)
JOBS = "teacher doctor baker farmer nurse pilot cook writer driver student painter dentist".split()
HOBBIES = (
    "reading swimming dancing cooking painting singing running cycling fishing gardening chess "
    "football tennis music drawing hiking"
).split()


def _aside(c: Script) -> None:
    """Something else in between, so that memory has to last."""
    if c.chance(0.45):
        held, c.held = c.held, False
        c.rng.choice(
            (numbers.sums, language.opposite, world.capital, small_talk.small_talk, world.fact)
        )(c)
        c.held = held


def name(c: Script) -> None:
    who = c.rng.choice(NAMES)
    wordings = (
        "My name is {x}.|my name is {x}|I am {x}.|I'm {x}|Hi, I am {x}.|Hello, my name is {x}!"
        "|call me {x}|You can call me {x}.|Hi! I'm {x}.|hey, {x} here|My name's {x}."
    )
    c.say(wordings, f"Nice to meet you, {who}! How can I help you?", who, x=who)
    if c.chance(0.12):
        who = c.rng.choice([n for n in NAMES if n != who])
        wordings = "No, my name is {x}.|Sorry, I meant {x}.|actually my name is {x}|No, I am {x}."
        c.say(wordings, f"Sorry! Nice to meet you, {who}.", who, x=who)
    if c.chance(0.8):
        _aside(c)
        wordings = (
            "What is my name?|what's my name?|Do you know my name?|Who am I?|do you remember my "
            "name?|my name?|Can you tell me my name?|what was my name again?|What am I called?"
            "|tell me my name|Do you still know my name?|how am I called?"
        )
        c.say(wordings, f"Your name is {who}.", who)
    elif c.chance(0.3):
        c.say("And what is your name?|what is your name?|and you?|And who are you?",
              f"My name is RWKV, {who}.", "RWKV")  # fmt: skip


def favourite(c: Script) -> None:
    kind = c.rng.choice(list(FAVOURITES))
    item = c.rng.choice(FAVOURITES[kind])
    wordings = (
        "My favourite {k} is {x}.|my favorite {k} is {x}|{x} is my favourite {k}.|I like {x} most "
        "of all {k}s.|The {k} I like best is {x}.|my fav {k} is {x}"
    )
    c.say(wordings, f"{start(item)} is a nice choice!", item, k=kind, x=item)
    if c.chance(0.12):
        item = c.rng.choice([i for i in FAVOURITES[kind] if i != item])
        wordings = "No, it is {x}.|Sorry, I meant {x}.|actually it is {x}|No wait, it is {x}."
        c.say(wordings, f"I see, your favourite {kind} is {item}.", item, x=item)
    _aside(c)
    wordings = (
        "What is my favourite {k}?|what's my favorite {k}?|Which {k} do I like most?|my favourite "
        "{k}?|do you remember my favourite {k}?|Which {k} do I like best?|what {k} do I like?"
    )
    c.say(wordings, f"Your favourite {kind} is {item}.", item, k=kind)


def pet(c: Script) -> None:
    animal, called = c.rng.choice(PETS), c.rng.choice(PET_NAMES)
    wordings = (
        "I have {a}. Its name is {n}.|I have {a} called {n}.|my {x} is called {n}|I have {a} named "
        "{n}.|My {x}'s name is {n}.|we have {a}, {n}|I got {a}. I call it {n}."
    )
    reply = f"{called} is a lovely name for {a(animal)}!"
    c.say(wordings, reply, called, a=a(animal), x=animal, n=called)
    _aside(c)
    if c.chance(0.65):
        wordings = (
            "What is the name of my {x}?|what is my {x} called?|what's my {x}'s name?|name of my "
            "{x}?|How is my {x} called?|do you remember the name of my {x}?|Who is my {x}?"
        )
        c.say(wordings, f"Your {animal} is called {called}.", called, x=animal)
    else:
        wordings = (
            "What animal do I have?|what pet do I have?|which animal do I have?|do I have a pet?"
        )
        c.say(wordings, f"You have {a(animal)} called {called}.", f"{animal}|{called}")


def place(c: Script) -> None:
    town = c.rng.choice(PLACES)
    wordings = (
        "I live in {x}.|I am from {x}.|i come from {x}|I'm living in {x}.|My home is in {x}.|I'm "
        "from {x}"
    )
    c.say(wordings, f"How nice! What do you like about {town}?", town, x=town)
    _aside(c)
    wordings = (
        "Where do I live?|where am I from?|in which city do I live?|Which city do I live in?|do "
        "you remember where I live?|what is my city?"
    )
    c.say(wordings, f"You live in {town}.", town)


def number(c: Script) -> None:
    n, kind = c.rng.randint(2, 99), c.rng.random()
    if kind < 0.5:
        wordings = (
            "I am {n} years old.|i'm {n}|I am {n}.|my age is {n}|I turned {n} today.|I'm {n} years "
            "old"
        )
        c.say(wordings, f"{n} is a good age!", str(n), n=n)
        _aside(c)
        wordings = (
            "How old am I?|what is my age?|my age?|do you remember how old I am?|tell me my age"
        )
        c.say(wordings, f"You are {n} years old.", str(n))
        return
    wordings = (
        "Remember the number {n}.|My number is {n}.|my lucky number is {n}|please remember {n}"
        "|The number is {n}.|Keep the number {n} in mind."
    )
    c.say(wordings, f"Okay, I will remember {n}.", str(n), n=n)
    _aside(c)
    wordings = (
        "What is the number?|what number did I say?|which number was it?|What was my number?|the "
        "number?|what is my number|Which number did I tell you?|what was the number?"
    )
    c.say(wordings, f"The number is {n}.", str(n))


def word(c: Script) -> None:
    item = c.rng.choice(language.SPELLED)
    wordings = (
        "Remember the word {x}.|The secret word is {x}.|the password is {x}|my word is {x}|please "
        "remember the word {x}|Remember this word: {x}"
    )
    c.say(wordings, f"Okay, I will remember {item}.", item, x=item)
    _aside(c)
    wordings = (
        "What was the word?|what is the secret word?|which word did I say?|what word was it|the "
        "word?|What is the word?|what is the password?"
    )
    c.say(wordings, f"The word is {item}.", item)


def job_or_hobby(c: Script) -> None:
    if c.chance(0.5):
        job = c.rng.choice(JOBS)
        wordings = (
            "I am {a}.|I work as {a}.|my job is {x}|i'm {a}|I am {a} by profession.|I work as {x}"
        )
        c.say(wordings, f"{start(a(job))} has an interesting job!", job, a=a(job), x=job)
        _aside(c)
        wordings = (
            "What is my job?|what do I do for work?|what do I work as?|my job?|do you remember my "
            "job?"
        )
        c.say(wordings, f"You are {a(job)}.", job)
        return
    hobby = c.rng.choice(HOBBIES)
    wordings = (
        "My hobby is {x}.|I like {x}.|i love {x}|I enjoy {x}.|my hobby is {x}|I really like {x}."
    )
    c.say(wordings, f"{start(hobby)} is a nice hobby!", hobby, x=hobby)
    _aside(c)
    wordings = (
        "What is my hobby?|what do I like?|my hobby?|What do I like to do?|do you remember my "
        "hobby?|what do I love?"
    )
    c.say(wordings, f"You like {hobby}.", hobby)


def two_facts(c: Script) -> None:
    """Two facts in one turn or two, both asked for."""
    who, town, n = c.rng.choice(NAMES), c.rng.choice(PLACES), c.rng.randint(5, 80)
    wordings = (
        "I am {x} and I live in {t}.|My name is {x} and I am from {t}.|I'm {x} from {t}|Hi, I'm "
        "{x}, I live in {t}.|my name is {x}, I live in {t}"
    )
    if c.chance(0.35):
        wordings = (
            "I am {x} and I am {n} years old.|My name is {x}. I am {n}.|I'm {x}, {n} years old"
        )
        town = ""
    c.say(wordings, f"Nice to meet you, {who}! How can I help you?", who, x=who, t=town, n=n)
    _aside(c)
    asks = ["name", "place" if town else "age"]
    c.rng.shuffle(asks)
    for ask in asks[: c.rng.randint(1, 2)]:
        if ask == "name":
            wordings = "What is my name?|what's my name?|who am I?|do you know my name?|my name?"
            c.say(wordings, f"Your name is {who}.", who)
        elif ask == "place":
            wordings = "Where do I live?|where am I from?|which city do I live in?|my city?"
            c.say(wordings, f"You live in {town}.", town)
        else:
            c.say("How old am I?|what is my age?|my age?", f"You are {n} years old.", str(n))


def never_told(c: Script) -> None:
    if c.chance(0.4):
        _aside(c)
    what = c.one("name", "age", "favourite colour", "job", "favourite food", "birthday", "city",
                 "phone number", "hobby", "pet's name", "password", "address")  # fmt: skip
    wordings = (
        "What is my {x}?|what's my {x}?|Do you know my {x}?|my {x}?|tell me my {x}|Can you tell me "
        "my {x}?|guess my {x}|do you remember my {x}?"
    )
    check = has_words("not told|do not know|don't know|no idea|cannot know")
    c.say(wordings, f"You have not told me your {what} yet.", check, x=what)


INTENTS = {
    name: 3.0, favourite: 2.0, pet: 1.4, place: 1.0, number: 1.4, word: 0.8, job_or_hobby: 1.0,
    two_facts: 1.2, never_told: 1.0,
}  # fmt: skip
