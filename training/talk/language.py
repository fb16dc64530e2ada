"""Words: opposites, plurals, tenses, rhymes, spelling, repeating and other languages."""

from training.talk.script import Check, Script, a, exactly, has_words, start
from training.talk.word_tables import (
    COMPARATIVES,
    LANGUAGES,
    OPPOSITES,
    PAST_TENSES,
    PHRASES,
    PLURALS,
    RHYME_GROUPS,
    SPELLED,
)

_NAMES = "Anna Ben Tom Lily Max Sara Leo Mia Sam Emma Jack Lucy Noah Ella Adam".split()
_SUBJECTS = "The cat|My sister|The old man|A small bird|Our teacher|The king|My friend|The dog"
_ACTIONS = (
    "sleeps on the sofa|likes to read books|runs home|sings a song|drinks a cup of tea|plays in "
    "the garden|is very happy today|has a red bike|goes to school by bus|lives near the sea"
)


def opposite(c: Script) -> None:
    word, other = c.rng.choice(list(OPPOSITES.items()))
    wordings = (
        "What is the opposite of {x}?|opposite of {x}|opposite of {x}?|Tell me the opposite of "
        '{x}.|what\'s the opposite of {x}|What is the opposite of "{x}"?|the opposite of {x} is?'
        "|Which word is the opposite of {x}?|give me the opposite of {x}|antonym of {x}"
        "|What word means the opposite of {x}?|{x} is the opposite of what?"
    )
    c.say(wordings, f"The opposite of {word} is {other}.", _ends(word, other), x=word)
    while c.chance(0.3) and len(c.exchanges) < 3:
        second, answer = c.rng.choice(list(OPPOSITES.items()))
        wordings = "And of {x}?|and {x}?|what about {x}?|and the opposite of {x}?|and of {x}"
        reply = f"The opposite of {second} is {answer}."
        c.say(wordings, reply, _ends(second, answer), x=second)


def _ends(word: str, other: str) -> Check:
    """A check for the opposite after "is": the question's word may be one, too."""
    check = has_words(_also(word, other))
    return lambda reply: check(reply.split(" is ")[-1])


def _also(word: str, other: str) -> str:
    more = {
        "old": "young|new", "difficult": "easy", "easy": "difficult|hard", "big": "small|little",
        "light": "dark|heavy", "short": "long|tall", "open": "closed|close|shut",
    }  # fmt: skip
    return more.get(word, other)


def plural(c: Script) -> None:
    word, many = c.rng.choice(list(PLURALS.items()))
    if c.chance(0.25):
        wordings = "One {x}, two ...?|one {x}, two what?|1 {x}, 2 ...|one {x}, many ...?"
        c.say(wordings, f"One {word}, two {many}.", many, x=word)
        return
    wordings = (
        "What is the plural of {x}?|plural of {x}|plural of {x}?|Tell me the plural of {x}.|what's "
        "the plural of {x}|the plural of {x} is?|What is the plural form of {x}?|plural form of "
        "{x}|How do you say more than one {x}?|give me the plural of {x}|make {x} plural"
    )
    c.say(wordings, f"The plural of {word} is {many}.", f"is {many}", x=word)
    if c.chance(0.2):
        other, many = c.rng.choice(list(PLURALS.items()))
        c.say("And of {x}?|and {x}?|what about {x}?", f"The plural of {other} is {many}.",
              f"is {many}", x=other)  # fmt: skip


def past_tense(c: Script) -> None:
    word, past = c.rng.choice(list(PAST_TENSES.items()))
    wordings = (
        "What is the past tense of {x}?|past tense of {x}|past of {x}?|what's the past of {x}"
        "|Tell me the past tense of {x}.|the past tense of {x} is?|Today I {x}, yesterday I ...?"
        "|Today I {x}. Yesterday I ...|I {x} today. Yesterday I ...?|What is the past form of {x}?"
        "|today: {x}, yesterday: ?|{x} in the past tense|Put {x} into the past tense."
    )
    c.say(wordings, f"The past tense of {word} is {past}.", past.replace("was", "was|were"), x=word)


def comparative(c: Script) -> None:
    word, more = c.rng.choice(list(COMPARATIVES.items()))
    wordings = "What is the comparative of {x}?|comparative of {x}|comparative form of {x}?"
    c.say(wordings, f"The comparative of {word} is {more}.", more, x=word)


def rhyme(c: Script) -> None:
    group = c.rng.choice(RHYME_GROUPS)
    word = c.rng.choice(group)
    other = group[0] if word != group[0] else group[1]
    wordings = (
        "What rhymes with {x}?|rhyme with {x}|Find a rhyme for {x}.|a rhyme for {x}?|Which word "
        "rhymes with {x}?|tell me a word that rhymes with {x}|Give me a word that rhymes with {x}."
        "|rhymes with {x}|what word rhymes with {x}?"
    )
    rhymes = "|".join(w for w in group if w != word)
    check = has_words(rhymes)
    first = lambda t: check(t.split(" rhymes")[0])  # noqa: E731  (the word itself comes later)
    c.say(wordings, f"{start(other)} rhymes with {word}.", first, x=word)


def spell(c: Script) -> None:
    word = c.rng.choice(SPELLED)
    text = "-".join(word.upper())
    wordings = (
        "Spell {x}.|spell {x}|How do you spell {x}?|Can you spell {x}?|spell the word {x}|Spell "
        '"{x}".|how is {x} spelled?|What is the spelling of {x}?|how to spell {x}|Please spell '
        "{x}.|spelling of {x}|Spell {x} for me.|Can you spell the word {x}?|the letters of {x}"
    )
    c.say(wordings, text + ".", exactly(text), x=word)


def letters(c: Script) -> None:
    word = c.rng.choice(SPELLED)
    kind = c.rng.random()
    if kind < 0.4:
        wordings = (
            "What is the first letter of {x}?|first letter of {x}|which letter does {x} start "
            "with?|{x} starts with which letter?"
        )
        reply, check = f'The first letter of {word} is "{word[0].upper()}".', word[0]
    elif kind < 0.65:
        wordings = (
            "What is the last letter of {x}?|last letter of {x}|which letter does {x} end "
            "with?|{x} ends with which letter?"
        )
        reply, check = f'The last letter of {word} is "{word[-1].upper()}".', word[-1]
    else:
        wordings = (
            "How many letters does {x} have?|how many letters are in {x}?|letters in {x}|number of "
            "letters in {x}|how many letters has the word {x}?"
        )
        reply = f"{'-'.join(word.upper())}: {len(word)} letters."
        check = str(len(word))
    last = has_words(check)
    c.say(wordings, reply, lambda t: last(t.split(" is ")[-1]), x=word)


def sentence_with(c: Script) -> None:
    word = c.one("cat", "dog", "horse", "bird", "tree", "house", "book", "ball", "car", "sun")
    action = {"tree": "is tall", "house": "is big", "book": "is new", "ball": "is red",
              "car": "is fast", "sun": "is warm"}.get(word, "runs home")  # fmt: skip
    wordings = (
        'Make a sentence with "{x}".|Write a sentence about {a}.|Use the word {x} in a sentence.'
        "|make a sentence with {x}|a sentence with the word {x}|write a sentence with {x}"
    )
    c.say(wordings, f"The {word} {action}.", word, x=word, a=a(word))


def _said(c: Script) -> str:
    """Something to say after the user: copying must not depend on what it is."""
    kind = c.rng.random()
    if kind < 0.25:
        return c.rng.choice(SPELLED)
    if kind < 0.45:
        return " ".join(c.rng.sample(SPELLED, c.rng.randint(2, 4)))
    if kind < 0.7:
        return f"{c.one(_SUBJECTS)} {c.one(_ACTIONS)}."
    if kind < 0.8:
        return str(c.rng.randint(0, 999))
    if kind < 0.9:
        return f"{c.one('Hello', 'Good morning', 'Thank you', 'Goodbye')}, {c.one(*_NAMES)}!"
    return c.one("yes", "no", "ok", "hello", "hello world", "I am a robot", "good night", "banana",
                 "pong", "I like trains", "test", "nothing", "I am here", "the end")  # fmt: skip


def say(c: Script) -> None:
    text = _said(c)
    wordings = (
        "Say {x} and nothing else|Say: {x}|Repeat after me: {x}|Please repeat: {x}|say {x}|Repeat "
        'this: {x}|say "{x}"|Just say {x}|Only say: {x}|Reply with {x}|Answer only with {x}|Write: '
        "{x}|Reply with only: {x}|repeat: {x}|Say exactly this: {x}|Respond with {x}|echo {x}"
        "|Please say {x} and nothing else.|Can you say {x}?|type {x}"
    )
    c.say(wordings, "", None, x=text)
    last = c.exchanges[-1]
    # What is typed in small letters is copied in small letters.
    said = text if text.rstrip(".!") in last.user else text.lower()
    last.reply, last.check = said, exactly(said)


def twice(c: Script) -> None:
    word, n = c.rng.choice(SPELLED), c.rng.randint(2, 4)
    times = {2: "two", 3: "three", 4: "four"}[n]
    wordings = (
        "Say {x} {n} times.|say {x} {n} times|repeat {x} {n} times|write {x} {n} times|{x} {n} "
        "times|Say the word {x} {n} times.|Can you say {x} {n} times?"
    )
    c.say(wordings, " ".join([word] * n), exactly(" ".join([word] * n)), x=word, n=times)


def capitals(c: Script) -> None:
    word = c.rng.choice(SPELLED)
    wordings = (
        "Write {x} in capital letters.|{x} in capitals|{x} in upper case|make {x} uppercase|{x} in "
        "capital letters|Write {x} in capitals.|Write {x} in big letters.|uppercase {x}|Turn {x} "
        "into capital letters."
    )
    check = lambda t: word.upper() in t  # noqa: E731
    c.say(wordings, word.upper(), check, x=word)


def phrase(c: Script) -> None:
    """How to say something in one of ten languages, and back."""
    meaning = c.rng.choice(list(PHRASES))
    language = c.rng.choice(LANGUAGES)
    text = PHRASES[meaning][language]
    if c.chance(0.5):
        wordings = (
            "How do you say {m} in {l}?|{m} in {l}|how to say {m} in {l}|What is {m} in {l}?|say "
            "{m} in {l}|what's {l} for {m}?|translate {m} to {l}|What is the {l} word for {m}?|How "
            "would I say {m} in {l}?|Translate {m} into {l}.|{m} in {l}?|Tell me {m} in {l}.|the "
            "{l} word for {m}"
        )
        c.say(wordings, f"{start(meaning)} in {language} is {text}.", text, m=meaning, l=language)
    else:
        wordings = (
            'What does {x} mean?|what does "{x}" mean?|meaning of {x}|{x} means what?|what is {x} '
            "in English?|What does the {l} word {x} mean?|translate {x}|{x} in english|What is the "
            "meaning of {x}?|What does {x} mean in English?|translate {x} to English|The {l} word "
            "{x} means what?|{x}: what does it mean?|what do people mean by {x}?"
        )
        means = [m for m, row in PHRASES.items() if text in row.values()]
        by = [name for name in LANGUAGES if PHRASES[means[0]][name] == text]
        reply = f"{start(text)} means {means[0]} in {by[0]}."
        c.say(wordings, reply, "|".join(means), x=text, l=by[0])


INTENTS = {
    opposite: 3.0, plural: 2.0, past_tense: 1.2, comparative: 0.2, rhyme: 1.3, spell: 1.8,
    letters: 0.8, sentence_with: 0.4, say: 3.2, twice: 0.4, capitals: 0.6, phrase: 2.0,
}  # fmt: skip
