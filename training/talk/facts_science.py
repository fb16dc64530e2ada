"""Simple science: the sky, weather, matter, food and animals.

Each fact is its wordings, an answer and a check, with ` = ` between them; blank lines part them.
"""

from training.talk.script import facts

SCIENCE = facts(
    """
How many planets are there?|number of planets|How many planets are in the solar system?|how
many planets go around the sun? = There are eight planets. = eight|8

What is the biggest planet?|What is the largest planet?|biggest planet?|which planet is the
largest|largest planet in the solar system = Jupiter is the largest planet. = Jupiter

What is the smallest planet?|smallest planet?|which planet is the smallest = Mercury is the
smallest planet. = Mercury

Which planet is closest to the sun?|planet nearest to the sun|What is the closest planet to the
sun?|Which planet is nearest to the sun? = Mercury is closest to the sun. = Mercury

Which planet is called the red planet?|what is the red planet?|red planet?|Which planet is red?
= Mars is the red planet. = Mars

Which planet has rings?|what planet has big rings|planet with rings? = Saturn is known for its
rings. = Saturn

Which planet do we live on?|what is our planet called?|What planet are we on?|What is the name
of our planet? = We live on the planet Earth. = Earth

What goes around the Earth?|what circles the earth? = The moon goes around the Earth. = moon

Does the Earth go around the sun?|does the earth circle the sun? = Yes, the Earth goes around the
sun in one year. = yes

How long does the Earth take to go around the sun?|how long is one trip around the sun = The
Earth goes around the sun in one year. = year|365

Is the sun a star?|is the sun a planet or a star?|what kind of thing is the sun = The sun is a
star. = star

Is the Earth round?|is the earth flat?|What shape is the Earth?|is the world round = The Earth
is round like a ball. = round

Is the moon made of cheese?|what is the moon made of? = The moon is made of rock. = rock

What is the star closest to the Earth?|closest star to earth|which star is nearest to us? = The
sun is the star closest to the Earth. = sun

Why is the sky blue?|why is the sky blue|Why does the sky look blue?|how come the sky is blue?|
explain why the sky is blue = The sky looks blue because the air scatters blue light more than
other light. = light|air

Why is the sea salty?|why is the ocean salty?|why does sea water taste salty = Rivers carry salt
from rocks into the sea, and it stays there. = salt

Why do we have day and night?|what makes day and night?|Why is it dark at night?|what causes
night? = The Earth turns once a day, so each place faces the sun and then turns away. = turns|
earth

Why do leaves fall?|why do trees lose their leaves? = Trees drop their leaves in autumn to save
water and energy in winter. = autumn|winter

Why do we sleep?|why do people sleep?|why do we need sleep = We sleep so that the body and the
mind can rest. = rest

Why do birds sing?|why does a bird sing? = Birds sing to find a mate and to guard their home. =
mate|home

Why do cats purr?|why does a cat purr? = Cats mostly purr because they feel safe and happy. =
happy|safe

Why is water important?|why do we need water?|why do we drink water? = All living things need
water to live. = live|living

Why does it rain?|what makes it rain?|where does rain come from?|How does rain form? = Water
rises as vapour, cools down in clouds, and falls as rain. = water|cloud|clouds

At what temperature does water boil?|when does water boil?|boiling point of water|What is the
boiling point of water?|how hot is boiling water? = Water boils at 100 degrees Celsius. = 100

At what temperature does water freeze?|when does water freeze?|freezing point of water|What is
the freezing point of water? = Water freezes at 0 degrees Celsius. = 0|zero

What is frozen water called?|what do you call frozen water?|what is ice made of?|What is ice? =
Ice is frozen water. = ice & water

What happens when ice gets warm?|what happens to ice in the sun?|what does ice become when it
melts = Ice melts and becomes water. = melts|water

What is steam?|what does boiling water become? = Steam is water that has become a gas. = gas|
water

What is H2O?|what is h2o|What is the chemical name of water?|formula of water = H2O is water. =
water|H2O

What do plants need to grow?|what does a plant need|What do flowers need? = Plants need light,
water, air and soil. = water|light

What do we breathe?|what gas do we need to breathe?|What gas do people breathe? = We breathe
air, and our body needs the oxygen in it. = oxygen|air

Who makes honey?|which animal makes honey?|what insect makes honey|where does honey come from?
= Bees make honey. = bees|bee

Where does milk come from?|which animal gives milk?|who gives us milk? = Milk comes from cows. =
cow|cows

Where does wool come from?|which animal gives wool?|where do we get wool = Wool comes from
sheep. = sheep

Where do eggs come from?|who lays eggs?|which farm animal lays eggs? = Chickens lay eggs. =
chickens|hens|chicken

What is bread made of?|what is bread made from?|ingredients of bread = Bread is made of flour,
water, salt and yeast. = flour

What is cheese made of?|what is cheese made from?|where does cheese come from? = Cheese is made
of milk. = milk

What is paper made of?|what is paper made from?|where does paper come from = Paper is made of
wood. = wood

What is glass made of?|what is glass made from? = Glass is made of sand. = sand

What is the largest animal?|biggest animal in the world|What is the biggest animal?|which
animal is the largest on earth? = The blue whale is the largest animal. = whale

What is the tallest animal?|tallest animal?|which animal is the tallest|Which animal has a long
neck? = The giraffe is the tallest animal. = giraffe

What is the fastest animal on land?|fastest land animal|Which animal runs fastest?|what is the
fastest animal? = The cheetah is the fastest animal on land. = cheetah

Which animal has a trunk?|what animal has a trunk|animal with a long trunk? = An elephant has a
trunk. = elephant

Which animal has black and white stripes?|what animal has stripes? = A zebra has black and white
stripes. = zebra

Who is the king of the animals?|king of the jungle?|which animal is called the king of the
jungle? = The lion is called the king of the animals. = lion

Can fish breathe under water?|how do fish breathe? = Yes, fish breathe under water with their
gills. = gills|yes

Is a tomato a fruit or a vegetable?|is a tomato a fruit? = A tomato is a fruit, but we cook it
like a vegetable. = fruit

Is fire hot or cold?|is fire hot?|is fire cold? = Fire is hot. = hot

Is ice hot or cold?|is ice cold?|is ice hot? = Ice is cold. = cold

Is water wet?|is water wet or dry? = Yes, water is wet. = wet

What is a magnet?|what does a magnet do? = A magnet pulls things made of iron. = iron
"""
)
