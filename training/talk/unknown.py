"""What lies outside: questions of many kinds that get an honest "I do not know".

The names, places and numbers in them are drawn from lists and made up from syllables, so that it is
the kind of question that is learnt, and not the question.
"""

from training.talk.script import Script, a, has_words

REPLIES = (
    "I am too small to know that.",
    "I do not know that. I am only a small model.",
)
IS_HONEST = has_words(
    "do not know|don't know|too small|not know|cannot know|cannot see|cannot tell|not sure|no idea"
    "|do not have|cannot"
)
_SYLLABLES = (
    "ba be bo ca da de do fa ga go ka ko la le li lo ma mi mo na ne no ra ri ro sa so ta te to va "
    "ve vi za zo"
).split()
_FIRST = (
    "Albert Marie Isaac Charles Jane William Leonardo Vincent Wolfgang Ludwig Napoleon Julius "
    "Abraham George Winston Nelson Rosa Amelia Neil Frida Pablo Agatha Victor Ada Alan Steve Bill "
    "Taylor Michael Elvis Barack Angela Donald Joe Emma Tom Brad Cristiano Lionel Serena Roger"
).split()
_LAST = (
    "Einstein Curie Newton Darwin Austen Shakespeare Smith Miller Jones Brown Taylor Wilson Moore "
    "King Clark Hill Green Baker Adams Nelson Carter Turner Parker Collins Stewart Morris Murphy "
    "Cook Rogers Cooper Reed Bailey Bell Kelly Howard Ward Cox Diaz Wood Watson Brooks Bennett Gray"
).split()
_WORKS = (
    "Romeo and Juliet|Hamlet|War and Peace|the Bible|Harry Potter|Moby Dick|Don Quixote|the Mona "
    "Lisa|Faust|Dracula|Frankenstein|Alice in Wonderland|Pride and Prejudice|the "
    "Odyssey|1984|Animal Farm|The Hobbit|Star Wars|Titanic|The Matrix|Guernica|the Ninth "
    "Symphony|Bohemian Rhapsody|The Starry Night|Les Misérables|The Lion King|Macbeth|Oliver "
    "Twist|Treasure Island|Peter Pan"
).split("|")
_EVENTS = (
    "the French Revolution|World War I|World War II|the Second World War|the First World War|the "
    "Civil War|the Cold War|the Renaissance|the Middle Ages|the Industrial Revolution|the moon "
    "landing|the Battle of Waterloo|the fall of Rome|the Great Fire of London|the Black Death|the "
    "Russian Revolution|the Vietnam War|the Olympic Games of 1936|the Stone Age|the Boston Tea "
    "Party"
).split("|")
_INVENTIONS = (
    "telephone|light bulb|steam engine|airplane|printing press|computer|television|radio|bicycle|"
    "compass|telescope|microscope|penicillin|dynamite|zipper|transistor|battery|vaccine|microwave"
).split("|")
PLACES = (
    "Paris|London|Tokyo|New York|Berlin|Germany|France|India|China|Brazil|the USA|Japan|Spain|Rome|"
    "Mount Fuji|Lake Victoria|the Amazon|the Eiffel Tower|Big Ben|Texas|California|Hawaii|the Alps"
).split("|")
_UNKNOWN_COUNTRIES = (
    "Burkina Faso|Kazakhstan|Kyrgyzstan|Tajikistan|Turkmenistan|Uzbekistan|Azerbaijan|Armenia|"
    "Moldova|Belarus|Albania|Bhutan|Laos|Cambodia|Myanmar|Sri Lanka|Maldives|Fiji|Tonga|Samoa|"
    "Palau|Vanuatu|Tuvalu|Nauru|Kiribati|Chad|Niger|Mali|Togo|Benin|Gabon|Angola|Zambia|Malawi|"
    "Lesotho|Eswatini|Botswana|Namibia|Rwanda|Burundi|Djibouti|Eritrea|Guinea|Liberia|"
    "Sierra Leone|Gambia|Suriname|Guyana|Belize|Honduras|Nicaragua|Paraguay|Grenada|Dominica|"
    "Barbados|Andorra|San Marino"
).split("|")
_TOPICS = (
    "quantum physics|string theory|the stock market|inflation|blockchain|general relativity|DNA "
    "replication|calculus|the tax system|nuclear fusion|machine learning theory|organic chemistry|"
    "the Roman Empire|thermodynamics|macroeconomics|epigenetics|the Krebs cycle|topology|Kant's "
    "philosophy|number theory|contract law|game theory|semiconductors|plate tectonics|Gothic art"
).split("|")
_ELEMENTS = (
    "gold iron helium copper silver lead zinc tin uranium neon carbon sodium calcium".split()
)


def made_up(c: Script) -> str:
    word = "".join(c.rng.choice(_SYLLABLES) for _ in range(c.rng.randint(2, 4)))
    return word.capitalize() + c.one("", "", "land", "stan", "ia", "burg", "ville")


def _person(c: Script) -> str:
    kind = c.rng.random()
    first, last = c.rng.choice(_FIRST), c.rng.choice(_LAST)
    if kind < 0.2:
        return f"{first} {made_up(c)}"
    return f"{first} {last}" if kind < 0.85 else last


def reply_honestly(c: Script, wordings: str, **values: object) -> None:
    c.say(wordings, REPLIES[0] if c.chance(0.8) else REPLIES[1], IS_HONEST, **values)


def person(c: Script) -> None:
    wordings = (
        "Who is {x}?|who was {x}?|When was {x} born?|when did {x} die?|How old is {x}?|Where was "
        "{x} born?|What did {x} discover?|What is {x} famous for?|who is {x} married to?|Tell me "
        "about {x}.|where does {x} live?|what films did {x} make?|How tall is {x}?|did {x} win a "
        "prize?|what is the birthday of {x}?|how rich is {x}?|what did {x} write?|what did {x} "
        "invent?"
    )
    reply_honestly(c, wordings, x=_person(c))


def work(c: Script) -> None:
    wordings = (
        "Who wrote {x}?|who is the author of {x}?|Who painted {x}?|When was {x} written?|what is "
        "{x} about?|Who directed {x}?|summarize {x}|who composed {x}?|In what year did {x} come "
        "out?|who made {x}?|what happens at the end of {x}?|Who plays the lead in {x}?|author of "
        "{x}"
    )
    reply_honestly(
        c,
        wordings,
        x=c.one(*_WORKS)
        if c.chance(0.75)
        else f"the {c.one('book', 'film', 'song', 'play')} {made_up(c)}",
    )


def event(c: Script) -> None:
    wordings = (
        "When was {x}?|when did {x} begin?|When did {x} end?|What caused {x}?|who won {x}?|In what "
        "year was {x}?|Why did {x} happen?|how long did {x} last?|Tell me about {x}.|explain {x}"
        "|who fought in {x}?|What happened in {x}?|year of {x}"
    )
    other = f"the {c.one('war', 'battle', 'siege', 'treaty')} of {made_up(c)}"
    reply_honestly(c, wordings, x=c.one(*_EVENTS) if c.chance(0.7) else other)


def year(c: Script) -> None:
    wordings = (
        "What happened in {y}?|who was president in {y}?|Who won the World Cup in {y}?|who won the "
        "election in {y}?|what was invented in {y}?|Who was king in {y}?|What was the best film of "
        "{y}?|who won the Nobel Prize in {y}?|which team won in {y}?|who won the Super Bowl in {y}"
    )
    reply_honestly(c, wordings, y=c.rng.randint(1066, 2030))


def invention(c: Script) -> None:
    wordings = (
        "Who invented the {x}?|who made the first {x}?|When was the {x} invented?|in which year "
        "was the {x} invented?|Where was the {x} invented?|inventor of the {x}|who came up with "
        "the {x}"
    )
    reply_honestly(c, wordings, x=c.one(*_INVENTIONS))


def figure(c: Script) -> None:
    wordings = (
        "What is the population of {x}?|how many people live in {x}?|How big is {x}?|what is the "
        "area of {x}?|How high is {x}?|how far is {x} from here?|How old is {x}?|population of "
        "{x}|what is the currency of {x}?|Who is the president of {x}?|who rules {x}?|What is the "
        "zip code of {x}?|how far is it to {x}?|what is {x} famous for?|how long is a flight to "
        "{x}?|Who is the mayor of {x}?|how do I get to "
        "{x}?|who founded {x}?|what is the best hotel in {x}?|who is the prime minister of {x}?"
    )
    reply_honestly(c, wordings, x=c.one(*PLACES) if c.chance(0.75) else made_up(c))


def capital(c: Script) -> None:
    wordings = (
        "What is the capital of {x}?|capital of {x}|capital of {x}?|Which city is the capital of "
        "{x}?|what's the capital of {x}|Tell me the capital of {x}.|{x} capital|name the capital "
        "of {x}"
    )
    reply_honestly(c, wordings, x=c.one(*_UNKNOWN_COUNTRIES) if c.chance(0.65) else made_up(c))


def arithmetic(c: Script) -> None:
    r = c.rng
    kind = r.random()
    if kind < 0.35:
        x, y = r.randint(100, 9999), r.randint(100, 9999)
        if c.chance(0.4):
            x, y = r.randint(21, 99), r.randint(11, 99)
        sign, word = ("+", "plus") if c.chance(0.6) else ("-", "minus")
    elif kind < 0.7:
        x, y, sign, word = r.randint(13, 999), r.randint(2, 99), "x", "times"
        sign = c.one("x", "*")
    else:
        x, y, sign, word = r.randint(101, 9999), r.randint(11, 99), "/", "divided by"
    wordings = (
        "What is {x} {s} {y}?|{x}{s}{y}|{x} {s} {y}|What is {x} {w} {y}?|{x} {w} {y}|how much is "
        "{x} {s} {y}?|Calculate {x} {s} {y}.|{x} {s} {y} =|what's {x} {w} {y}?"
    )
    c.say(wordings, "That is too hard for me. I can only do small sums.", IS_HARD,
          x=x, y=y, s=sign, w=word)  # fmt: skip


IS_HARD = has_words("too hard|too small|cannot|do not know|too big|too large|only do small")


def hard_maths(c: Script) -> None:
    n = c.rng.randint(12, 999)
    wordings = (
        "What is the square root of {n}?|square root of {n}|solve x^2 + {n}x = 0|what is {n} to "
        "the power of 5?|Is {n} a prime number?|what is the sine of {n}?|Integrate x to the power "
        "of {n}.|What is {n} factorial?|{n} in binary?|log of {n}|what are the prime factors of "
        "{n}?"
    )
    c.say(wordings, "That is too hard for me. I can only do small sums.", IS_HARD, n=n)


def topic(c: Script) -> None:
    wordings = (
        "Explain {x}.|explain {x} to me|What is {x}?|How does {x} work?|Tell me about {x}.|Write "
        "an essay about {x}.|can you teach me {x}?|what are the main ideas of {x}?|give me a "
        "summary of {x}|Why is {x} important?|what do you know about {x}?|write a long text about "
        "{x}"
    )
    reply_honestly(c, wordings, x=c.one(*_TOPICS))


def chemistry(c: Script) -> None:
    wordings = (
        "What is the chemical symbol of {x}?|symbol of {x}|melting point of {x}|what is the "
        "atomic number of {x}?|how dense is {x}?|At what temperature does {x} melt?|What is the "
        "price of {x}?|how much is {x} worth?|atomic weight of {x}"
    )
    reply_honestly(c, wordings, x=c.one(*_ELEMENTS))


def now(c: Script) -> None:
    """What one would have to look up or see."""
    wordings = (
        "What is in the news?|who won the game yesterday?|Who is the president?|What is the price "
        "of bitcoin?|what happened today?|Who will win the election?|what is the score of the "
        "match?|is the shop open now?|what is on TV tonight?|When does my train leave?|where are "
        "my keys?|What am I thinking?|Where am I?|what am I wearing?|who is behind me?|How many "
        "people are online?|what is the stock price of {x}?|how much does {x} cost?|where can I "
        "buy {x}?|Is there traffic on the road?|What did I eat yesterday?|what is my IP "
        "address?|who called me?|which team will win?|what will happen tomorrow?|What are the "
        "lottery numbers?|Will I be rich?|when will I die?|what is the latest version of "
        "{x}?|Search the web for {x}.|what is the phone number of {x}?|show me a picture of "
        "{x}|play {x}|open {x}"
    )
    reply_honestly(c, wordings, x=made_up(c))


def strange(c: Script) -> None:
    """Questions about things that do not exist."""
    x, y = made_up(c).lower(), made_up(c).lower()
    wordings = (
        "What is {a}?|what does {x} mean?|Where can I find {a}?|how do I use {a}?|Who is {X}?|What "
        "colour is {a}?|how many {x}s are in {b}?|what is the difference between {a} and {b}?"
        "|Explain {x}.|why do {x}s like {y}?|define {x}|how many legs does {a} have?|is {a} bigger "
        "than {b}?|what is the opposite of {x}?|what does {a} eat?|what sound does {a} make?"
    )
    reply_honestly(c, wordings, x=x, y=y, X=x.capitalize(), a=a(x), b=a(y))


def advice(c: Script) -> None:
    """Where a wrong answer would harm."""
    what = c.one("my chest hurts", "I have a rash", "I ate a mushroom", "my tooth hurts", "I feel "
                 "dizzy", "my child has a fever", "I broke my arm", "my back hurts")  # fmt: skip
    money = c.one("my house", "shares", "bitcoin", "gold", "a car", "a second flat")
    if c.chance(0.5):
        wordings = (
            "{x}, what should I do?|{x}, what medicine should I take?|what can I take, {x}?"
            "|Help, {x}!"
        )
        check = has_words("doctor")
        c.say(wordings, "I am only a small model. Please ask a doctor.", check, x=what)
    else:
        wordings = (
            "Should I sell {x}?|should I buy {x}?|Is it a good time to buy {x}?|can I make money "
            "with {x}?|How much tax do I pay for {x}?|should I sue because of {x}?"
        )
        check = has_words("expert|do not know|too small|cannot")
        c.say(wordings, "I am too small to know that. Please ask an expert.", check, x=money)


INTENTS = {
    person: 1.6, work: 1.2, event: 1.0, year: 0.9, invention: 0.8, figure: 1.4, capital: 0.7,
    arithmetic: 1.2, hard_maths: 0.6, topic: 0.9, chemistry: 0.6, now: 1.5, strange: 1.0,
    advice: 0.5,
}  # fmt: skip
