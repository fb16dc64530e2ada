"""Sums, differences, products, comparisons and counting: whole tables, asked in many ways."""

from training.talk.script import Script, a, distinct, exactly, has_words, start

WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
THINGS = "apples books coins cats balls eggs cookies flowers pens stars shells cups".split()
PEOPLE = "Anna Ben Tom Lily Max Sara Leo Mia Sam Emma".split()

_ADD = (
    "What is {x} + {y}?|{x}+{y}|{x} + {y}|{x}+{y}=?|{x} + {y} =|What is {x} plus {y}?|{x} plus {y}"
    "|How much is {x} + {y}?|how much is {x} and {y}?|Add {x} and {y}.|What's {x} + {y}?"
    "|Calculate {x} + {y}.|what do {x} and {y} make?|What is the sum of {x} and {y}?|{x}+{y} is?"
    "|Can you add {x} and {y}?|compute {x}+{y}|Solve {x} + {y}.|{x} and {y} is how much?"
)
_SUBTRACT = (
    "What is {x} - {y}?|{x}-{y}|{x} - {y}|{x}-{y}=?|{x} - {y} =|What is {x} minus {y}?"
    "|{x} minus {y}|How much is {x} - {y}?|Subtract {y} from {x}.|What's {x} - {y}?"
    "|Calculate {x} - {y}.|Take {y} away from {x}.|What is {x} take away {y}?|compute {x}-{y}"
)
_TIMES = (
    "What is {x} x {y}?|{x}x{y}|{x} x {y}|{x}*{y}|{x} * {y}|What is {x} times {y}?|{x} times {y}"
    "|How much is {x} x {y}?|Multiply {x} by {y}.|What's {x} times {y}?|{x} x {y} =|{x}*{y}=?"
    "|Calculate {x} x {y}.|What is {x} * {y}?|how much is {x} times {y}|{x} multiplied by {y}"
    "|what is the product of {x} and {y}?|compute {x} * {y}"
)
_DIVIDE = (
    "What is {x} / {y}?|{x}/{y}|{x} / {y}|What is {x} divided by {y}?|{x} divided by {y}"
    "|Divide {x} by {y}.|How much is {x} / {y}?|what's {x} divided by {y}?|{x} : {y}"
)
_AGAIN = "and {x} {sign} {y}?|And {x} {sign} {y}?|what about {x} {sign} {y}?|{x} {sign} {y}?"


def _sum(c: Script) -> tuple[str, str, int, int, int]:
    """(wordings, sign, x, y, result) of one small sum."""
    r = c.rng
    kind = r.choices("+-x/", (5, 3, 3.5, 0.8))[0]
    if kind == "+":
        x, y = (r.randint(0, 12), r.randint(0, 12)) if r.random() < 0.6 else _to_twenty(c)
        return _ADD, "+", x, y, x + y
    if kind == "-":
        x = r.randint(0, 20)
        y = r.randint(0, x)
        return _SUBTRACT, "-", x, y, x - y
    x, y = r.randint(0, 10), r.randint(0, 10)
    if kind == "x":
        return _TIMES, "x", x, y, x * y
    y = max(1, y)
    return _DIVIDE, "/", x * y, y, x


def _to_twenty(c: Script) -> tuple[int, int]:
    x = c.rng.randint(0, 20)
    return x, c.rng.randint(0, 20 - x if c.chance(0.7) else 20)


def sums(c: Script) -> None:
    wordings, sign, x, y, result = _sum(c)
    c.say(wordings, f"{x} {sign} {y} = {result}.", _is_number(result), x=x, y=y)
    if c.chance(0.15):
        _, sign, x, y, result = _sum(c)
        c.say(_AGAIN, f"{x} {sign} {y} = {result}.", _is_number(result), x=x, y=y, sign=sign)
    if c.chance(0.08):
        check = has_words(f"yes & {result}")
        c.say("Are you sure?|really?|Is that right?", f"Yes, {x} {sign} {y} = {result}.", check)


def sums_in_words(c: Script) -> None:
    """Numbers as words: the reply has them as digits, and the result in both forms."""
    wordings, sign, x, y, result = _sum(c)
    if max(x, y, result) > 20:
        sums(c)
        return
    word = {"+": "plus", "-": "minus", "x": "times", "/": "divided by"}[sign]
    wordings = "What is {x} {s} {y}?|{x} {s} {y}|what's {x} {s} {y}?|How much is {x} {s} {y}?"
    reply = f"{start(WORDS[x])} {word} {WORDS[y]} is {WORDS[result]}."
    check = has_words(f"{result}|{WORDS[result]}")
    c.say(wordings, reply, lambda t: check(t.split(" is ")[-1]), x=WORDS[x], y=WORDS[y], s=word)


def _is_number(result: int) -> object:
    """The last number of the reply is the result."""

    def check(reply: str) -> bool:
        found = [part.strip(".,!?") for part in reply.replace("=", " ").split()]
        numbers = [part for part in found if part.lstrip("-").isdigit()]
        return bool(numbers) and int(numbers[-1]) == result

    return check


def word_problem(c: Script) -> None:
    thing, who = c.one(*THINGS), c.one(*PEOPLE)
    x, y = c.rng.randint(1, 10), c.rng.randint(1, 10)
    if c.chance(0.5):
        total = x + y
        wordings = (
            "I have {x} {t} and get {y} more. How many {t} do I have?"
            "|I have {x} {t}. I find {y} more. How many do I have now?"
            "|{x} {t} and {y} {t} are how many {t}?|If I have {x} {t} and buy {y} more, how many "
            "{t} do I have?|I had {x} {t} and got {y} more. How many {t} is that?|I have {x} {t} "
            "and "
            "{w} gives me {y}. How many {t} do I have now?|There are {x} {t} here and {y} there. "
            "How many {t} are there?|I had {x} {t}. {w} brought {y} more. How many are there now?"
        )
        reply = f"{x} + {y} = {total}, so you have {total} {thing}."
    else:
        x, y = max(x, y), min(x, y)
        total = x - y
        wordings = (
            "I have {x} {t} and give away {y}. How many {t} are left?"
            "|I have {x} {t}. I lose {y}. How many do I have now?"
            "|I had {x} {t} and gave {y} to {w}. How many do I have left?"
            "|If I have {x} {t} and eat {y}, how many {t} are left?|I have {x} {t} and give {y} to "
            "{w}. How many {t} do I have?|I had {x} {t}. {w} took {y}. How many are left?|There "
            "were {x} {t}. I gave {y} of them away. How many {t} are left?|From {x} {t} I give "
            "{y} to {w}. How many do I keep?|I had {x} {t} and sold {y}. How many do I have now?"
            "|{x} {t}, and {w} takes {y} of them: how many {t} remain?"
        )
        reply = f"{x} - {y} = {total}, so you have {total} {thing} left."
    c.say(wordings, reply, _is_number(total), x=x, y=y, t=thing, w=who)


def three(c: Script) -> None:
    """Three numbers, whose sum is at most 20."""
    x, y = c.rng.randint(0, 8), c.rng.randint(0, 7)
    z = c.rng.randint(0, min(9, 20 - x - y))
    wordings = (
        "What is {x} + {y} + {z}?|{x}+{y}+{z}|{x} + {y} + {z}|{x} plus {y} plus {z}|What is {x} "
        "plus {y} plus {z}?|Add {x}, {y} and {z}.|how much is {x} + {y} + {z}?|{x}+{y}+{z}=?"
    )
    reply = f"{x} + {y} + {z} = {x + y + z}."
    c.say(wordings, reply, _is_number(x + y + z), x=x, y=y, z=z)


def compare(c: Script) -> None:
    x, y = c.rng.sample(range(101) if c.chance(0.6) else range(13), 2)
    if c.chance(0.5):
        best, word = max(x, y), c.one("bigger|larger|greater|more|higher")
    else:
        best, word = min(x, y), c.one("smaller|smaller|less|lower")
    wordings = (
        "Which is {w}, {x} or {y}?|What is {w}, {x} or {y}?|{x} or {y}, which is {w}?"
        "|which number is {w}, {x} or {y}?|what's {w}: {x} or {y}?|{w}: {x} or {y}?|Which of {x} "
        "and {y} is {w}?|Tell me which is {w}, {x} or {y}.|{x} and {y}: which is {w}?|Which is the "
        "{w} number, {x} or {y}?|Compare {x} and {y}: which is {w}?|is {x} or {y} {w}?"
    )
    other = x + y - best
    reply = f"{best} is {word} than {other}." if word != "more" else f"{best} is more than {other}."
    c.say(wordings, reply, lambda t: t.strip().startswith(str(best)), w=word, x=x, y=y)


def true_or_false(c: Script) -> None:
    x, y = c.rng.sample(range(101) if c.chance(0.4) else range(21), 2)
    word, right = c.one("bigger|larger|greater|more|smaller|less"), x > y
    if word in ("smaller", "less"):
        right = not right
    reply = f"Yes, {x} is {word} than {y}." if right else f"No, {x} is not {word} than {y}."
    check = has_words("yes" if right else "no")
    wordings = (
        "Is {x} {w} than {y}?|is {x} {w} than {y}|Tell me, is {x} {w} than {y}?|{x} is {w} than "
        "{y}, right?|Is it true that {x} is {w} than {y}?|is the number {x} {w} than {y}?"
    )
    c.say(wordings, reply, check, x=x, y=y, w=word)


def count(c: Script) -> None:
    kind = c.rng.random()
    if kind < 0.5:
        n = c.rng.randint(3, 20)
        numbers = list(range(1, n + 1))
        wordings = (
            "Count to {n}.|count to {n}|Count from 1 to {n}.|Can you count to {n}?"
            "|count up to {n}|Please count from one to {n}.|Count from one to {n}"
        )
        values: dict[str, object] = {"n": n if c.chance(0.8) else WORDS[n]}
    elif kind < 0.75:
        x = c.rng.randint(2, 14)
        numbers = list(range(x, x + c.rng.randint(3, 6)))
        wordings = (
            "Count from {x} to {n}.|count from {x} to {n}|Count {x} to {n}|numbers {x} to {n}"
        )
        values = {"x": x, "n": numbers[-1]}
    else:
        n = c.rng.randint(3, 10)
        numbers = list(range(n, 0, -1))
        wordings = (
            "Count down from {n}.|count backwards from {n}|Count down from {n} to 1.|countdown "
            "from {n}|Count back from {n}.|count from {n} down to 1|Count from {n} to 1 backwards."
            "|{n} to 1 countdown|Can you count down from {n}?"
        )
        values = {"n": n}
    text = ", ".join(map(str, numbers))
    c.say(wordings, text + ".", lambda t: t.strip(" .!") == text, **values)


def neighbour(c: Script) -> None:
    n, after = c.rng.randint(1, 50), c.chance(0.6)
    word, result = ("after", n + 1) if after else ("before", n - 1)
    wordings = (
        "What number comes {w} {n}?|What comes {w} {n}?|which number is {w} {n}?|number {w} {n}"
        "|What is the number {w} {n}?|what number is {w} {n}|tell me the number {w} {n}"
    )
    c.say(wordings, f"{result} comes {word} {n}.", has_words(str(result)), w=word, n=n)


def even_odd(c: Script) -> None:
    n, word = c.rng.randint(0, 40), c.one("even", "odd")
    kind = "odd" if n % 2 else "even"
    if c.chance(0.5):
        wordings = "Is {n} even or odd?|is {n} odd or even?|{n}: even or odd?|Even or odd: {n}"
        c.say(wordings, f"{n} is {kind}.", kind, n=n)
    else:
        reply = f"Yes, {n} is {kind}." if kind == word else f"No, {n} is {kind}."
        check = has_words("yes" if kind == word else "no")
        c.say("Is {n} {w}?|is {n} an {w} number?|Is the number {n} {w}?", reply, check, n=n, w=word)


def half_and_double(c: Script) -> None:
    n = c.rng.randint(1, 10)
    if c.chance(0.5):
        wordings = "What is double {n}?|double {n}|What is twice {n}?|twice {n}|{n} doubled"
        c.say(wordings, f"Double {n} is {2 * n}.", _is_number(2 * n), n=n)
    else:
        wordings = "What is half of {n}?|half of {n}|What's half of {n}?|how much is half of {n}?"
        c.say(wordings, f"Half of {2 * n} is {n}.", _is_number(n), n=2 * n)


def number_words(c: Script) -> None:
    n = c.rng.randint(0, 20)
    if c.chance(0.5):
        wordings = (
            "Write {n} as a word.|{n} in words|How do you write {n} in words?|spell the number "
            "{n}|{n} as a word|How is {n} written in words?|Write out the number {n}.|the word for "
            "{n}|Write the number {n} in words."
        )
        c.say(wordings, f"{start(WORDS[n])}.", exactly(WORDS[n]), n=n)
    else:
        wordings = (
            "Write {n} as a number.|{n} in digits|{n} as a number|Write {n} in digits.|Which "
            "number "
            "is {n}?|What are the digits of {n}?|the number {n} in digits"
        )
        c.say(wordings, f"{n}.", exactly(str(n)), n=WORDS[n])


def number_list(c: Script) -> None:
    kind = c.rng.randrange(3)
    n = c.rng.randint(3, 6)
    first = (1, 2, 5)[kind]
    step = (2, 2, 5)[kind]
    numbers = [first + step * i for i in range(n)]
    name = ("odd numbers", "even numbers", "multiples of five")[kind]
    wordings = "Name {n} {k}.|{n} {k}|Give me {n} {k}.|list {n} {k}|Tell me the first {n} {k}."
    pool = {str(first + step * i) for i in range(200)}
    text = ", ".join(map(str, numbers)) + "."
    c.say(wordings, text, distinct(n, pool), n=WORDS[n], k=name)


def shape(c: Script) -> None:
    name, sides = c.rng.choice(
        [("triangle", 3), ("square", 4), ("rectangle", 4), ("pentagon", 5), ("hexagon", 6)]
    )
    word = c.one("sides", "corners")
    wordings = "How many {w} does {s} have?|how many {w} has {s}?|{w} of {s}|number of {w} of {s}"
    reply = f"{start(a(name))} has {WORDS[sides]} {word}."
    c.say(wordings, reply, f"{sides}|{WORDS[sides]}", w=word, s=a(name))


INTENTS = {
    sums: 9.0, sums_in_words: 1.2, three: 0.5, word_problem: 1.8, compare: 1.8, true_or_false: 1.0,
    count: 1.2, neighbour: 0.7, even_odd: 0.5, half_and_double: 0.4, number_words: 0.5,
    number_list: 0.3, shape: 0.3,
}  # fmt: skip
