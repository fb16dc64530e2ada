"""One-line programs in Python."""

from training.talk.script import Check, Script

_TASKS = {
    "prints hello|says hello|writes hello": ('print("hello")', 'print("hello'),
    "prints hello world|writes hello world": ('print("hello world")', 'print("hello world'),
    "adds two numbers|sums a and b": ("a + b", "a + b"),
    "sums a list|adds all numbers of a list": ("sum(numbers)", "sum("),
    "finds the largest number of a list|gets the maximum": ("max(numbers)", "max("),
    "finds the smallest number of a list|gets the minimum": ("min(numbers)", "min("),
    "sorts a list|puts a list in order": ("sorted(numbers)", "sort"),
    "reverses a list|turns a list around": ("numbers[::-1]", "[::-1]"),
    "reverses a string|turns a text around": ("text[::-1]", "[::-1]"),
    "counts the items of a list|gets the length of a list": ("len(items)", "len("),
    "makes a text uppercase|turns text into capitals": ("text.upper()", "upper()"),
    "makes a text lowercase|turns text into small letters": ("text.lower()", "lower()"),
    "splits a text into words|gets the words of a text": ("text.split()", "split()"),
    "joins words with spaces|makes a text of words": ('" ".join(words)', "join("),
    "counts from 1 to 10|prints the numbers from 1 to 10": (
        "for i in range(1, 11): print(i)", "range(1, 11)"),
    "prints the numbers from 0 to 4|loops five times": (
        "for i in range(5): print(i)", "range(5)"),
    "squares a number|multiplies a number by itself": ("x ** 2", "x"),
    "tests if a number is even|checks for an even number": ("x % 2 == 0", "% 2"),
    "makes a list of squares|squares each number of a list": (
        "[x ** 2 for x in numbers]", "for x in"),
    "keeps the even numbers of a list|filters even numbers": (
        "[x for x in numbers if x % 2 == 0]", "% 2"),
    "reads a file|gets the text of a file": ('open("file.txt").read()', "open("),
    "asks for a name|reads input from the user": ('name = input("Name: ")', "input("),
    "picks a random number|rolls a die": ("random.randint(1, 6)", "random"),
    "swaps two variables|exchanges a and b": ("a, b = b, a", "b, a"),
    "adds an item to a list|appends to a list": ("items.append(x)", "append("),
    "turns a text into a number|converts a string to an int": ("int(text)", "int("),
    "defines a function that adds two numbers|is an add function": (
        "def add(a, b): return a + b", "return a + b"),
    "imports math|loads the math module": ("import math", "import math"),
}  # fmt: skip


def _has(part: str) -> Check:
    return lambda reply: part in reply and len(reply) < 120


def one_liner(c: Script) -> None:
    tasks, (text, part) = c.rng.choice(list(_TASKS.items()))
    wordings = (
        "Write Python code that {t}.|python code that {t}|Python that {t}?|Write a line of Python "
        "that {t}.|Give me a Python one-liner that {t}.|code that {t}|Write a program that {t}."
        "|show me Python code that {t}|a line of code that {t}|what Python code {t}?"
    )
    c.say(wordings, text, _has(part), t=c.one(tasks))


def how_in_python(c: Script) -> None:
    what, text = c.rng.choice(
        [("print something", 'print("something")'), ("sort a list", "sorted(numbers)"),
         ("reverse a list", "numbers[::-1]"), ("reverse a string", "text[::-1]"),
         ("get the length of a list", "len(items)"), ("sum a list", "sum(numbers)"),
         ("add to a list", "items.append(x)"), ("read a file", 'open("file.txt").read()'),
         ("make a comment", "# a comment"), ("make a list", "numbers = [1, 2, 3]")]
    )  # fmt: skip
    wordings = (
        "How do I {t} in Python?|how to {t} in python|python: {t}|How can I {t} in Python?|{t} in "
        "python"
    )
    c.say(wordings, text, _has(text[:6]), t=what)


INTENTS = {one_liner: 1.0, how_in_python: 0.5}
