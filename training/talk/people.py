"""Names, places and likings that users tell of."""

from random import Random

NAMES = (
    "Anna Ben Tom Lily Max Sara Leo Mia Sam Emma Jack Lucy Noah Ella Adam Nina Paul Rosa Omar Kim "
    "Amy Dan Zoe Finn Ivy Hugo Ada Alex Maria John Kate Peter Julia David Laura Eva Oscar Nora Tim "
    "Bob Alice Carlos Fatima Yuki Ravi Olga Igor Lena Mark Susan Linda James Robert Mary Michael "
    "Sophie Felix Clara Victor Hannah Simon Grace Henry Ruth Frank Helen George Marta Luis Priya "
    "Diana Kevin Sandra Thomas Karen Brian Nancy Ahmed Chloe Ethan Liam Olivia Jonas Petra Marco "
    "Elena Daniel Rachel Steve Tina Walter Irene Pedro Ines Pierre Claire Sven Ingrid Chen Mei Ali "
    "Leila Ivan Tanya Jenny Chris Pat Joe Sally Rob Nick Eric Monica"
).split()
PLACES = (
    "Paris London Berlin Rome Tokyo Madrid Vienna Oslo Dublin Prague Boston Chicago Munich Milan "
    "Lisbon Athens Cairo Sydney Toronto Moscow Delhi Zurich Hamburg Naples Seattle Denver Dallas "
    "Houston Miami Venice Geneva Bern Lyon Porto Krakow Warsaw Helsinki Stockholm Bristol Leeds "
    "Glasgow Mumbai Seoul Bangkok Lima Nairobi Manila Havana Texas Spain Norway Canada Brazil Japan"
).split()
FAVOURITES = {
    "colour": "red blue green yellow purple pink orange black white brown grey turquoise".split(),
    "food": "pizza, soup, pasta, rice, apple pie, bread, salad, cheese, fish, chocolate, sushi, "
    "noodles, pancakes, ice cream, curry, potatoes".split(", "),
    "animal": "dog cat horse rabbit owl lion tiger elephant dolphin penguin fox bear".split(),
    "sport": "football tennis swimming running basketball skiing cycling chess golf hockey".split(),
    "season": "spring summer autumn winter".split(),
    "fruit": "apple banana cherry mango strawberry pear grape peach melon lemon".split(),
    "drink": "tea, coffee, milk, water, juice, lemonade, cocoa, green tea, cola".split(", "),
    "subject": "maths history music art English biology physics".split(),
    "day": "Friday Saturday Sunday Monday".split(),
    "book": "Heidi, Emma, Matilda, Momo, The Hobbit, Peter Pan, Treasure Island".split(", "),
    "city": PLACES[:30],
}
PETS = "dog cat rabbit horse bird mouse fish hamster turtle parrot pony goat".split()
PET_NAMES = (
    "Rex Luna Max Bella Milo Coco Rocky Daisy Leo Nala Simba Lucky Oscar Molly Buddy Charlie Toby "
    "Ruby Rosie Tiger Snowy Shadow Ginger Pepper Misty Bruno Fluffy Socks Kiwi Biscuit"
).split()
JOBS = (
    "teacher doctor baker farmer nurse pilot cook writer driver student painter dentist lawyer "
    "gardener singer engineer waiter builder plumber programmer"
).split()
HOBBIES = (
    "reading swimming dancing cooking painting singing running cycling fishing gardening chess "
    "football tennis music drawing hiking knitting yoga sailing"
).split()
RELATIVES = (
    "sister brother mother father friend wife husband son daughter teacher boss neighbour uncle "
    "aunt cousin"
).split()
THINGS = "car bike house door bag coat hat phone cup shirt umbrella boat scarf kitchen".split()
_FIRST = "Ba Be Da Do El Fa Ga Ja Ka Ki La Lo Ma Mi Na Ni Or Ra Ri Sa Si Ta To Va Ve Za".split()
_LAST = "bin dar del gor kan lan len lin mar mir nak nel ra ron sha sim tan ter vek vin zo".split()


def some_name(rng: Random, names: list[str] = NAMES) -> str:
    """One of the names, or now and then a new one: what is copied must not depend on the list."""
    if rng.random() < 0.85:
        return rng.choice(names)
    return rng.choice(_FIRST) + rng.choice(_LAST)
