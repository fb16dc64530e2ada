"""Word lists and small facts behind the conversation templates."""

NAMES = (
    "Anna Ben Tom Lily Max Sara Leo Mia Sam Emma Jack Lucy Noah Ella Adam Nina Paul Rosa Omar Kim "
    "Amy Dan Zoe Finn Ivy Hugo Ada Alex Maria John Kate Peter Julia David Laura Eva Oscar Nora Tim"
).split()

COLOURS = {
    "the sky": "blue", "grass": "green", "a banana": "yellow", "snow": "white", "coal": "black",
    "a strawberry": "red", "an orange": "orange", "the sun": "yellow", "milk": "white",
    "a tomato": "red", "a leaf": "green", "the sea": "blue", "a lemon": "yellow",
    "a frog": "green", "a crow": "black", "a carrot": "orange", "chocolate": "brown",
    "a flamingo": "pink", "an elephant": "grey", "a pumpkin": "orange", "a cherry": "red",
    "a bear": "brown", "a pig": "pink", "a cucumber": "green", "blood": "red", "cheese": "yellow",
    "the night sky": "black", "a cloud": "white", "a swan": "white", "corn": "yellow",
}  # fmt: skip

# animal: (sound, home, food, young, legs)
ANIMALS = {
    "dog": ("woof", "with people", "meat", "puppy", "four"),
    "cat": ("meow", "with people", "fish and meat", "kitten", "four"),
    "cow": ("moo", "on a farm", "grass", "calf", "four"),
    "sheep": ("baa", "on a farm", "grass", "lamb", "four"),
    "duck": ("quack", "near water", "plants and small fish", "duckling", "two"),
    "horse": ("neigh", "on a farm", "grass and hay", "foal", "four"),
    "pig": ("oink", "on a farm", "almost anything", "piglet", "four"),
    "frog": ("ribbit", "near ponds", "insects", "tadpole", "four"),
    "lion": ("roar", "in the grasslands of Africa", "meat", "cub", "four"),
    "bear": ("growl", "in the forest", "berries, fish and honey", "cub", "four"),
    "owl": ("hoot", "in the forest", "mice", "owlet", "two"),
    "chicken": ("cluck", "on a farm", "seeds", "chick", "two"),
    "mouse": ("squeak", "in fields and houses", "seeds and cheese", "pup", "four"),
    "wolf": ("howl", "in the forest", "meat", "pup", "four"),
    "goat": ("bleat", "on farms and mountains", "grass and leaves", "kid", "four"),
    "bee": ("buzz", "in a hive", "nectar from flowers", "larva", "six"),
    "snake": ("hiss", "in grass, forests and deserts", "mice and eggs", "hatchling", "no"),
    "elephant": ("trumpet", "in Africa and Asia", "grass, leaves and fruit", "calf", "four"),
}

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo",
    "China": "Beijing", "England": "London", "Russia": "Moscow", "Egypt": "Cairo",
    "Greece": "Athens", "Portugal": "Lisbon", "Poland": "Warsaw", "Austria": "Vienna",
    "Sweden": "Stockholm", "Norway": "Oslo", "Canada": "Ottawa", "India": "New Delhi",
    "Ireland": "Dublin", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
    "Hungary": "Budapest", "Finland": "Helsinki", "Denmark": "Copenhagen", "Brazil": "Brasilia",
    "the United States": "Washington, D.C.",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "happy": "sad", "fast": "slow", "day": "night",
    "old": "new", "young": "old", "light": "dark", "good": "bad", "rich": "poor", "open": "closed",
    "hard": "soft", "wet": "dry", "full": "empty", "high": "low", "early": "late", "left": "right",
    "loud": "quiet", "clean": "dirty", "strong": "weak", "near": "far", "easy": "difficult",
    "long": "short", "black": "white", "yes": "no", "cold": "hot", "small": "big", "slow": "fast",
    "sad": "happy", "night": "day", "inside": "outside", "love": "hate", "true": "false",
}  # fmt: skip

PLURALS = {
    "cat": "cats", "dog": "dogs", "child": "children", "mouse": "mice", "foot": "feet",
    "tooth": "teeth", "man": "men", "woman": "women", "box": "boxes", "baby": "babies",
    "book": "books", "sheep": "sheep", "fish": "fish", "leaf": "leaves", "city": "cities",
    "house": "houses", "apple": "apples", "knife": "knives", "wolf": "wolves", "story": "stories",
    "goose": "geese", "person": "people", "bus": "buses", "car": "cars", "tree": "trees",
}  # fmt: skip

PAST_TENSES = {
    "go": "went", "eat": "ate", "see": "saw", "run": "ran", "write": "wrote", "sing": "sang",
    "buy": "bought", "take": "took", "come": "came", "give": "gave", "make": "made",
    "play": "played", "walk": "walked", "think": "thought", "drink": "drank", "swim": "swam",
    "have": "had", "is": "was", "know": "knew", "fly": "flew", "sleep": "slept", "help": "helped",
}  # fmt: skip

RHYMES = {
    "cat": "hat", "dog": "frog", "sun": "run", "tree": "bee", "house": "mouse", "star": "car",
    "day": "play", "night": "light", "blue": "shoe", "rain": "train", "moon": "spoon",
    "fish": "dish", "cake": "lake", "bear": "chair", "king": "ring", "sea": "key",
}  # fmt: skip

LISTS = {
    "fruits": "apple, banana, orange, pear, cherry, grape, melon".split(", "),
    "vegetables": "carrot, potato, onion, tomato, pea, cabbage, bean".split(", "),
    "animals": "dog, cat, horse, lion, elephant, rabbit, bear".split(", "),
    "colours": "red, blue, green, yellow, orange, purple, white".split(", "),
    "birds": "robin, eagle, owl, duck, sparrow, swan, parrot".split(", "),
    "sports": "football, tennis, swimming, running, basketball, skiing, cycling".split(", "),
    "countries": "France, Japan, Brazil, Egypt, Canada, India, Italy".split(", "),
    "drinks": "water, milk, tea, coffee, orange juice, lemonade, cocoa".split(", "),
    "planets": "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Neptune".split(", "),
    "seasons": "spring, summer, autumn, winter".split(", "),
    "jobs": "teacher, doctor, baker, farmer, nurse, pilot, cook".split(", "),
    "musical instruments": "piano, guitar, violin, drum, flute, trumpet, harp".split(", "),
}

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()

EXPLANATIONS = {
    "a computer": "A computer is a machine that follows instructions. It can store information, "
    "do sums very fast and show pictures, text and sound.",
    "the sun": "The sun is a star. It is a huge ball of hot gas that gives us light and warmth.",
    "the moon": "The moon is a ball of rock that travels around the Earth. It shines because it "
    "reflects the light of the sun.",
    "rain": "Rain is water that falls from clouds. Water rises into the air as vapour, cools down, "
    "forms drops, and falls when the drops are heavy enough.",
    "snow": "Snow is frozen water that falls from clouds when the air is very cold.",
    "the internet": "The internet is a network that connects computers all over the world, so that "
    "people can share messages, pictures and pages.",
    "a language model": "A language model is a program that has learned from text which word is "
    "likely to come next. By doing that again and again, it can write an answer.",
    "gravity": "Gravity is the force that pulls things toward each other. It keeps us on the "
    "ground and the moon near the Earth.",
    "a rainbow": "A rainbow appears when sunlight passes through drops of water. The drops split "
    "the light into many colours.",
    "a tree": "A tree is a tall plant with a trunk, branches and leaves. It can live for many "
    "years.",
    "a book": "A book is a set of pages with words or pictures. People read books to learn things "
    "and to enjoy stories.",
    "water": "Water is a clear liquid that all living things need. It fills rivers, lakes "
    "and seas.",
    "fire": "Fire is the heat and light that come from something burning. It needs fuel, heat and "
    "air.",
    "music": "Music is sound that is put together in a pleasant way, with rhythm and melody.",
    "a friend": "A friend is someone you like and trust, and who likes you too.",
    "sleep": "Sleep is a time of rest for the body and the mind. We need it to stay healthy.",
    "electricity": "Electricity is a form of energy that flows through wires. It powers lamps, "
    "computers and many other machines.",
    "a planet": "A planet is a large round body that travels around a star. The Earth is a planet.",
    "the ocean": "The ocean is the very large body of salt water that covers most of the Earth.",
    "a volcano": "A volcano is a mountain with an opening from which hot rock, ash and gas can "
    "come out.",
    "a school": "A school is a place where children learn to read, write, count and much more.",
    "a dictionary": "A dictionary is a book that tells you what words mean and how to spell them.",
    "time": "Time is what we measure with clocks: seconds, minutes, hours, days and years.",
    "a robot": "A robot is a machine that can do some jobs by itself by following a program.",
    "a server": "A server is a computer or a program that answers requests from other computers.",
    "bread": "Bread is a food made from flour, water and usually yeast. It is baked in an oven.",
    "a doctor": "A doctor is a person who helps people who are ill or hurt.",
    "winter": "Winter is the coldest season of the year. The days are short and it may snow.",
    "summer": "Summer is the warmest season of the year. The days are long and sunny.",
    "a bicycle": "A bicycle is a vehicle with two wheels. You move it by pushing the pedals.",
    "a dream": "A dream is a set of pictures and feelings that we have while we sleep.",
    "love": "Love is a strong feeling of caring for someone.",
    "a token": "A token is a small piece of text, such as a word or a part of a word. Language "
    "models read and write text one token at a time.",
    "a clock": "A clock is a device that shows the time.",
    "a cloud": "A cloud is made of many tiny drops of water that float in the air.",
}
