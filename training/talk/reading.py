"""Summaries of, and answers about, a short text that the user gives."""

from training.talk.reading_texts import TEXTS
from training.talk.script import Script, start

_ASK = (
    "{text} {q}|{text}\n{q}|Text: {text} Question: {q}|Read this: {text} {q}|{q} "
    "{text}|{text}\n\n{q}"
    "|{text} Question: {q}|Here is a text: {text} {q}|{q}\n{text}|Answer from the text: {text} {q}"
)


def answer(c: Script) -> None:
    """A question about a text, at once or in the turn after it; sometimes a second one."""
    text, _, fields, questions = c.rng.choice(TEXTS)(c)
    (wordings, reply, check), (again, second_reply, second_check) = c.rng.sample(questions, 2)
    question = c.wording(wordings, fields)[0]
    if c.chance(0.8):
        c.say(_ASK, reply, check, text=text, q=question)
    else:
        given = (
            "{text}|Here is a text: {text}|Read this: {text}|I have a text: {text}|Please read: "
            "{text}|Read this text: {text}"
        )
        c.say(given, "Okay, I have read it.", None, text=text)
        c.say("{q}", reply, check, q=question)
    _keep_names(c, text)
    if c.chance(0.3):
        second = c.wording(again, fields)[0]
        c.say("{q}|And {q}", second_reply, second_check, q=second)


def _keep_names(c: Script, text: str) -> None:
    """What is copied from a text keeps its capitals, so the text is not put into small letters."""
    for exchange in c.exchanges:
        if text.lower() in exchange.user:
            exchange.user = exchange.user.replace(text.lower(), text)


def summary(c: Script) -> None:
    text, short, _, _ = c.rng.choice(TEXTS)(c)
    wordings = (
        "Summarise this: {x}|Summarize: {x}|summarize this text: {x}|Give me a short summary: {x}"
        "|{x} Summarise this in one sentence.|In one sentence: {x}|tldr: {x}|Make this shorter: {x}"
        "|Shorten this: {x}|What is this text about? {x}|Sum this up: {x}|{x} - in short, please"
        "|Can you summarise this? {x}|Please summarise: {x}|{x} Summary, please.|{x}\nSummarise."
        "|Summary of this: {x}|What happened? {x}|Say this in fewer words: {x}|Summarise in one "
        "sentence: {x}|Write a summary of this text: {x}|in a few words: {x}|{x} What is this "
        "about?"
        "|the main point of this: {x}|Summarise the following text in one sentence: {x}|tl;dr {x}"
        "|{x}\nSum it up.|Sum up: {x}|Give the short version: {x}"
    )
    c.say(wordings, short, lambda t: len(t) < len(text) and short.split()[0] in t, x=text)
    _keep_names(c, text)


def title(c: Script) -> None:
    what, who = c.one("cat|dog|boy|girl|king|fox"), c.one("lost|little|happy|brave|tired|hungry")
    text = f"Once there was a {who} {what}. The {what} went home and was never {who} again."
    wordings = (
        "Give this story a title: {x}|What is a good title for this? {x}|title for this story: "
        "{x}|find a title: {x}"
    )
    c.say(wordings, f"The {start(who)} {start(what)}.", what, x=text)


INTENTS = {answer: 2.5, summary: 1.2, title: 0.15}
