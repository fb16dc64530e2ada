"""What there is to know about animals and colours."""

from training.talk.script import table

# animal: sound / where it lives / what it eats / its young / legs / kind / colour
_ANIMALS = """
dog: woof / with people / meat / puppy / four / mammal / brown
cat: meow / with people / fish and meat / kitten / four / mammal / grey
cow: moo / on a farm / grass / calf / four / mammal / brown
sheep: baa / on a farm / grass / lamb / four / mammal / white
duck: quack / near water / plants and small fish / duckling / two / bird / brown
horse: neigh / on a farm / grass and hay / foal / four / mammal / brown
pig: oink / on a farm / almost anything / piglet / four / mammal / pink
frog: ribbit / near ponds / insects / tadpole / four / amphibian / green
lion: roar / in the grasslands of Africa / meat / cub / four / mammal / yellow
tiger: roar / in the forests of Asia / meat / cub / four / mammal / orange
bear: growl / in the forest / berries, fish and honey / cub / four / mammal / brown
owl: hoot / in the forest / mice / owlet / two / bird / brown
chicken: cluck / on a farm / seeds / chick / two / bird / white
rooster: cock-a-doodle-doo / on a farm / seeds / chick / two / bird / red
mouse: squeak / in fields and houses / seeds and cheese / pup / four / mammal / grey
wolf: howl / in the forest / meat / pup / four / mammal / grey
goat: bleat / on farms and mountains / grass and leaves / kid / four / mammal / white
bee: buzz / in a hive / nectar from flowers / larva / six / insect / yellow and black
snake: hiss / in grass, forests and deserts / mice and eggs / hatchling / no / reptile / green
elephant: trumpet / in Africa and Asia / grass, leaves and fruit / calf / four / mammal / grey
donkey: hee-haw / on a farm / grass and hay / foal / four / mammal / grey
turkey: gobble / on a farm / seeds and insects / poult / two / bird / brown
crow: caw / in fields and towns / almost anything / chick / two / bird / black
dove: coo / in towns and trees / seeds / chick / two / bird / white
goose: honk / near water / grass / gosling / two / bird / white
monkey: chatter / in the jungle / fruit and leaves / infant / two / mammal / brown
bird: tweet / in trees / seeds and insects / chick / two / bird / -
spider: - / in webs / insects / spiderling / eight / arachnid / black
ant: - / in an anthill / almost anything / larva / six / insect / black
fly: buzz / almost everywhere / almost anything / maggot / six / insect / black
butterfly: - / in gardens and meadows / nectar from flowers / caterpillar / six / insect / -
beetle: - / almost everywhere / plants and insects / larva / six / insect / black
fish: - / in water / plants and smaller fish / fry / no / fish / -
shark: - / in the sea / fish / pup / no / fish / grey
whale: - / in the sea / tiny sea animals / calf / no / mammal / blue and grey
dolphin: click / in the sea / fish / calf / no / mammal / grey
octopus: - / in the sea / crabs / larva / eight / mollusc / red
crab: - / by the sea / almost anything / larva / ten / crustacean / red
penguin: - / near the South Pole / fish / chick / two / bird / black and white
eagle: screech / in the mountains / fish and small animals / eaglet / two / bird / brown
parrot: squawk / in the jungle / seeds and fruit / chick / two / bird / green
swan: - / on lakes / water plants / cygnet / two / bird / white
rabbit: - / in fields / grass and carrots / kit / four / mammal / grey
fox: - / in the forest / mice and berries / cub / four / mammal / red
deer: - / in the forest / grass and leaves / fawn / four / mammal / brown
giraffe: - / in the grasslands of Africa / leaves / calf / four / mammal / yellow and brown
zebra: - / in the grasslands of Africa / grass / foal / four / mammal / black and white
camel: - / in the desert / dry plants / calf / four / mammal / brown
kangaroo: - / in Australia / grass / joey / two / mammal / brown
turtle: - / in water and on land / plants / hatchling / four / reptile / green
crocodile: - / in warm rivers / fish and meat / hatchling / four / reptile / green
squirrel: - / in trees / nuts / kit / four / mammal / red
hedgehog: - / in gardens / insects and worms / hoglet / four / mammal / brown
panda: - / in China / bamboo / cub / four / mammal / black and white
snail: - / in gardens / leaves / young snail / no / mollusc / brown
worm: - / in the soil / dead leaves / young worm / no / worm / pink
polar bear: growl / near the North Pole / seals / cub / four / mammal / white
"""
Animal = tuple[str, ...]
ANIMALS: dict[str, Animal] = {
    line.split(":")[0]: tuple(part.strip() for part in line.split(":")[1].split(" / "))
    for line in _ANIMALS.strip().splitlines()
}
SOUND, HOME, FOOD, YOUNG, LEGS, KIND, COLOUR = range(7)
MORE_WITH_LEGS = table(
    "person: two, human: two, chair: four, table: four, ladybug: six, grasshopper: six, "
    "mosquito: six, scorpion: eight, lizard: four, hamster: four, cheetah: four, ostrich: two, "
    "flamingo: two, pigeon: two, robin: two, moose: four, hippo: four, rhino: four, lobster: ten, "
    "tripod: three, stool: three"
)

COLOURS = table(
    """the sky: blue, grass: green, a banana: yellow, snow: white, coal: black, a strawberry: red,
    an orange: orange, the sun: yellow, milk: white, a tomato: red, a leaf: green, the sea: blue,
    a lemon: yellow, a frog: green, a crow: black, a carrot: orange, chocolate: brown,
    a flamingo: pink, an elephant: grey, a pumpkin: orange, a cherry: red, a bear: brown,
    a pig: pink, a cucumber: green, blood: red, cheese: yellow, the night sky: black,
    a cloud: white, a swan: white, corn: yellow, a lime: green, an apple: red, a polar bear: white,
    a fire truck: red, a rose: red, the ocean: blue, the moon: white, honey: yellow, coffee: brown,
    a plum: purple, an aubergine: purple, salt: white, sugar: white, rice: white, spinach: green,
    broccoli: green, a pea: green, a mouse: grey, a shark: grey, a tree trunk: brown, gold: yellow,
    a blueberry: blue, a raspberry: red, a penguin: black and white, a zebra: black and white,
    a panda: black and white, fire: orange, wood: brown, ice: white, a school bus: yellow,
    lettuce: green, a fox: red, bread: brown, a potato: brown, paper: white, an egg: white,
    a stop sign: red, a crocodile: green, a chick: yellow, a sunflower: yellow, lavender: purple,
    night: black, a bat: black, a kiwi: green, a ruby: red, an emerald: green, a sapphire: blue"""
)
MIXTURES = {
    ("blue", "yellow"): "green", ("red", "yellow"): "orange", ("red", "blue"): "purple",
    ("black", "white"): "grey", ("red", "white"): "pink",
}  # fmt: skip

# Each from the smallest (slowest, coldest, shortest) to the largest.
BY_SIZE = (
    "ant, bee, mouse, frog, rat, rabbit, cat, dog, sheep, pig, lion, horse, cow, giraffe, "
    "elephant, whale"
).split(", ")
THINGS_BY_WEIGHT = (
    "feather, leaf, coin, pencil, egg, apple, book, brick, chair, bicycle, table, piano, car, "
    "truck, house"
).split(", ")
BY_SPEED = (
    "snail, turtle, mouse, man, bicycle, dog, horse, cheetah, car, train, plane, rocket"
).split(", ")
BY_TIME = "second, minute, hour, day, week, month, year, century".split(", ")
BY_LENGTH = "millimetre, centimetre, metre, kilometre".split(", ")
BY_HEAT = "ice, snow, cold water, warm water, boiling water, fire, lava, the sun".split(", ")
BY_PLACE = "village, town, city, country, continent, planet, star, galaxy".split(", ")
