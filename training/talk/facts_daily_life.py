"""The world, the body, the calendar and everyday things.

Each fact is its wordings, an answer and a check, with ` = ` between them; blank lines part them.
"""

from training.talk.script import facts

DAILY_LIFE = facts(
    """
What is the largest ocean?|biggest ocean?|which ocean is the largest|What is the biggest ocean
in the world? = The Pacific is the largest ocean. = Pacific

What is the highest mountain?|tallest mountain?|what is the highest mountain in the world?|
which mountain is the highest = Mount Everest is the highest mountain. = Everest

What is the longest river?|longest river in the world?|which river is the longest = The Nile is
often called the longest river. = Nile

What is the largest country?|biggest country in the world|which country is the largest? = Russia
is the largest country. = Russia

What is the largest desert?|biggest hot desert?|which hot desert is the largest? = The Sahara is
the largest hot desert. = Sahara

How many continents are there?|number of continents|how many continents does the earth have? =
There are seven continents. = seven|7

Name the continents.|what are the continents?|list all continents = Africa, Antarctica, Asia,
Australia, Europe, North America and South America. = Africa & Asia & Europe

How many oceans are there?|number of oceans|how many oceans does the earth have = There are five
oceans. = five|5

How many fingers does a hand have?|fingers on one hand|how many fingers are on a hand? = A hand
has five fingers. = five|5

How many fingers does a person have?|how many fingers do people have?|how many fingers do I
have? = A person has ten fingers. = ten|10

How many toes does a person have?|how many toes do we have?|number of toes = A person has ten
toes. = ten|10

How many eyes does a person have?|how many eyes do people have?|how many eyes do we have = A
person has two eyes. = two|2

How many ears does a person have?|how many ears do people have? = A person has two ears. = two|2

How many wheels does a car have?|wheels on a car|how many wheels has a car? = A car has four
wheels. = four|4

How many wheels does a bicycle have?|how many wheels does a bike have?|wheels of a bicycle = A
bicycle has two wheels. = two|2

How many wheels does a tricycle have?|wheels on a tricycle = A tricycle has three wheels. =
three|3

How many wings does a bird have?|how many wings has a bird|wings of a bird = A bird has two
wings. = two|2

How many colours does a rainbow have?|colours in a rainbow|how many colors are in a rainbow? = A
rainbow has seven colours. = seven|7

What are the colours of the rainbow?|name the colors of the rainbow|rainbow colours? = Red,
orange, yellow, green, blue, indigo and violet. = red & green & blue

How many senses do we have?|number of senses|how many senses does a person have? = We have five
senses: sight, hearing, smell, taste and touch. = five|5

What do we see with?|what do you use to see?|which part of the body sees = We see with our eyes.
= eyes

What do we hear with?|what do you use to hear?|which part of the body hears? = We hear with our
ears. = ears

What do we smell with?|what do you use to smell? = We smell with our nose. = nose

What does the heart do?|what is the heart for?|why do we have a heart? = The heart pumps blood
through the body. = blood

Where does the sun rise?|in which direction does the sun rise?|sun rises in the? = The sun rises
in the east. = east

Where does the sun set?|in which direction does the sun set?|the sun sets where? = The sun sets
in the west. = west

What is the first letter of the alphabet?|first letter of the alphabet = The first letter is A. =
A

What is the last letter of the alphabet?|last letter of the alphabet? = The last letter is Z. = Z

What are the vowels?|name the vowels|which letters are vowels? = The vowels are a, e, i, o and
u. = a & e & i & o & u

What is the alphabet?|say the alphabet|Write the alphabet. = A B C D E F G H I J K L M N O P Q R
S T U V W X Y Z = A & M & Z

What is the coldest season?|coldest season?|which season is the coldest = Winter is the coldest
season. = winter

What is the warmest season?|which season is the hottest?|hottest season = Summer is the warmest
season. = summer

Name the seasons.|what are the four seasons?|list the seasons = Spring, summer, autumn and
winter. = spring & summer & winter

Name the days of the week.|what are the days of the week?|list the days of the week|days of the
week = Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. = Monday & Thursday &
Sunday

Name the months.|what are the months of the year?|list the months|months of the year = January,
February, March, April, May, June, July, August, September, October, November and December. =
January & June & December

Name the planets.|what are the planets?|list the planets|planets of the solar system = Mercury,
Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune. = Mercury & Mars & Neptune

Which days are the weekend?|what days are on the weekend?|when is the weekend? = Saturday and
Sunday are the weekend. = Saturday & Sunday

When is Christmas?|what day is christmas|date of christmas? = Christmas is on December 25. =
December

When is New Year?|what is the date of new year's day?|when does the year begin = The new year
begins on January 1. = January

What is the shortest month?|which month is the shortest|shortest month of the year = February is
the shortest month. = February

What do you use to cut paper?|what can I cut paper with?|what cuts paper? = You can cut paper
with scissors. = scissors

What do you use to write?|what can I write with?|what do people write with? = You can write with
a pen or a pencil. = pen|pencil

What do you wear on your feet?|what goes on your feet?|what do we put on our feet? = You wear
shoes on your feet. = shoes|socks

What do you wear on your head?|what goes on your head? = You wear a hat on your head. = hat

Where do you sleep?|where do people sleep?|what do people sleep in = People sleep in a bed. =
bed

Where can I buy bread?|where do you buy bread?|who sells bread? = You can buy bread at a bakery.
= bakery|baker

Where can I borrow books?|where do people borrow books?|a place with many books? = You can
borrow books at a library. = library

Who helps sick people?|who do you see when you are ill?|who works in a hospital = A doctor helps
sick people. = doctor|nurse

Who puts out fires?|who fights fires? = Firefighters put out fires. = firefighters|firefighter

Who teaches children?|who works in a school?|who teaches at a school? = A teacher teaches
children. = teacher

Who flies a plane?|who flies planes? = A pilot flies a plane. = pilot

Who bakes bread?|who makes bread? = A baker bakes bread. = baker

What do you do with a book?|what are books for?|what is a book for? = You read a book. = read

What do you do with an umbrella?|what is an umbrella for? = An umbrella keeps you dry in the
rain. = rain|dry

What is a clock for?|what does a clock show?|what do you use a clock for = A clock shows the
time. = time

What is a spoon for?|what do you eat soup with?|what do I use to eat soup = You eat soup with a
spoon. = spoon|soup
"""
)
