"""Short stories put together from parts, so that each hero meets many fates."""

from random import Random

from training.words import NAMES

Turns = list[str]
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


def _story(rng: Random, hero: str) -> str:
    name, trait = rng.choice(NAMES), rng.choice(TRAITS)
    place, (event, ending) = rng.choice(PLACES), rng.choice(PLOTS)
    return (
        f"Once upon a time there was a {trait} {hero} named {name} who lived {place}. "
        f"One day, {name} {event}. {name} {ending}. {rng.choice(MORALS)}"
    )


def story_about(rng: Random) -> Turns:
    hero = rng.choice(HEROES)
    article = "an" if hero[0] in "aeiou" else "a"
    ask = rng.choice(
        [
            "Tell me a story about {}.",
            "Tell a story about {}.",
            "Write a short story about {}.",
            "Can you tell me a story about {}?",
            "Please tell me a short story about {}.",
            "I want a story about {}.",
        ]
    )
    return [ask.format(f"{article} {hero}"), _story(rng, hero)]


def story(rng: Random) -> Turns:
    ask = rng.choice(
        [
            "Tell me a story.",
            "Tell me a story",
            "Write a story.",
            "Can you tell me a story?",
            "Tell me a short story.",
            "Write a short story.",
        ]
    )
    turns = [ask, _story(rng, rng.choice(HEROES))]
    if rng.random() < 0.2:
        more = rng.choice(["Another one, please.", "Tell me another story.", "One more!"])
        turns += [more, _story(rng, rng.choice(HEROES))]
    return turns


INTENTS = {story_about: 1.2, story: 0.8}
