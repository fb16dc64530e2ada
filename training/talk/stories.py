"""Short stories put together from parts, so that each hero meets many fates."""

from training.talk.people import NAMES
from training.talk.script import Check, Script, a

HEROES = (
    "cat", "dog", "rabbit", "bear", "fox", "mouse", "bird", "frog", "horse", "duck", "owl", "lion",
    "elephant", "dragon", "robot", "princess", "king", "boy", "girl", "wizard", "fish", "turtle",
)  # fmt: skip
TRAITS = ("little", "brave", "kind", "curious", "shy", "clever", "happy", "lonely", "small")
PLACES = (
    "in a green forest", "near a quiet lake", "in a small village", "in an old castle",
    "on a high hill", "by the sea", "in a big garden", "in a tiny house",
)  # fmt: skip
# what happens, and how it ends; {it} is the hero
PLOTS = (
    ("found a shiny red ball in the grass", "played with it all day and shared it with a friend"),
    ("lost the way home", "asked a wise old owl for help and was home before dark"),
    ("heard someone cry for help", "ran there, pulled a small bird out of the mud, and made a "
     "friend"),
    ("wanted to see the stars up close", "climbed the highest hill and looked at the sky all "
     "night"),
    ("was afraid of a big storm", "hid under a tree with a friend until the sun came out again"),
    ("found a map in an old box", "followed it and found a treasure: a basket full of sweet "
     "apples"),
    ("had no one to play with", "met a new friend at the river, and they played until the "
     "evening"),
    ("wanted to bake a cake", "made a big mess, but the cake was sweet and everyone was happy"),
    ("saw a light in the dark wood", "went closer and found many fireflies dancing in the air"),
    ("planted a tiny seed", "gave it water every day, and it became a tall and beautiful flower"),
)  # fmt: skip
MORALS = (
    "From that day on they were best friends.",
    "And they lived happily ever after.",
    "That night everyone slept well.",
    "It was the best day of all.",
    "The end.",
)


def _story(c: Script, hero: str) -> str:
    rng = c.rng
    name, trait = rng.choice(NAMES), rng.choice(TRAITS)
    place, (event, ending) = rng.choice(PLACES), rng.choice(PLOTS)
    return (
        f"Once upon a time there was a {trait} {hero} named {name} who lived {place}. "
        f"One day, {name} {event}. {name} {ending}. {rng.choice(MORALS)}"
    )


def _is_story(hero: str) -> Check:
    """Three sentences or more that have the hero in them."""
    return lambda reply: hero in reply.lower() and reply.count(".") >= 3


def story_about(c: Script) -> None:
    hero = c.rng.choice(HEROES)
    wordings = (
        "Tell me a story about {x}.|story about {x}|Tell a story about {x}.|Write a short story "
        "about {x}.|Can you tell me a story about {x}?|I want a story about {x}.|write a story "
        "about {x}|a short story about {x} please|Make up a story about {x}.|tell me about the "
        "life of {x} in a story|Tell me a tale of {x}."
    )
    c.say(wordings, _story(c, hero), _is_story(hero), x=a(hero))
    if c.chance(0.2):
        c.say("Who is the story about?|what was it about?|who was in the story?",
              f"It is about {a(hero)}.", hero)  # fmt: skip


def story(c: Script) -> None:
    wordings = (
        "Tell me a story.|tell me a story|Write a story.|Can you tell me a story?|Tell me a short "
        "story.|Write a short story.|a story please|I want to hear a story.|story time|make up a "
        "story|do you know a story?"
    )
    c.say(wordings, _story(c, c.rng.choice(HEROES)), _is_story("named"))
    if c.chance(0.2):
        more = "Another one, please.|Tell me another story.|One more!|another story|again please"
        c.say(more, _story(c, c.rng.choice(HEROES)), _is_story("named"))


_POEMS = (
    "The {x} is here, the {x} is there,\nI see the {x} everywhere.\nIt makes me smile, it makes me "
    "glad,\nIt is the best I ever had.",
    "I saw the {x} one summer day,\nIt made me laugh, it made me play.\nAnd when the night is cold "
    "and long,\nI sing the {x} a little song.",
)


def poem(c: Script) -> None:
    thing = c.one("moon|sea|rain|cat|dog|snow|sun|tree|bird|river|star|wind|flower|sky|night|train")
    wordings = (
        "Write a poem about the {x}.|poem about the {x}|Tell me a poem about the {x}.|Write a "
        "short poem about the {x}.|a poem about the {x} please|Can you write a poem about the {x}?"
        "|write me a poem about the {x}|make a poem about the {x}|I want a poem about the {x}."
    )
    reply = c.one(*_POEMS).format(x=thing)
    c.say(wordings, reply, lambda t: thing in t and "\n" in t, x=thing)


INTENTS = {story_about: 1.2, story: 0.8, poem: 0.4}
