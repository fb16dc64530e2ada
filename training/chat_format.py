"""The one chat layout of the model, and which of its tokens are learnt.

System: …\\n\\nUser: …\\n\\nAssistant: …\\n\\nUser: …\\n\\nAssistant: …
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.tokenizer import END_ID, load_tokenizer

IGNORE = 65535  # a target that carries no loss; targets are stored as uint16
SEPARATOR = "\n\n"


def prompt_text(turns: Sequence[str], system: str | None = None) -> str:
    """The text up to where the model answers; turns are user, assistant, …, user."""
    parts = [f"System: {system}"] if system else []
    for i, turn in enumerate(turns):
        parts.append(f"{'Assistant' if i % 2 else 'User'}: {turn}")
    return SEPARATOR.join([*parts, "Assistant:"])


def encode_chat(
    tokenizer: Tokenizer, turns: Sequence[str], system: str | None = None
) -> tuple[list[int], list[int]]:
    """(ids, targets) of a conversation: the loss falls on the replies and on their ends only.

    Every reply's last token has the end of document as its target, also in mid-conversation, where
    the next *input* is nevertheless the separator: that is how a server lays out the history.
    A prompt and a reply are encoded apart, because a server encodes the prompt on its own.
    """
    ids: list[int] = []
    targets: list[int] = []
    for i in range(0, len(turns) - 1, 2):
        prompt = prompt_text(turns[i : i + 1], system if i == 0 else None)
        asked = tokenizer.encode(prompt if i == 0 else SEPARATOR + prompt).ids
        reply = tokenizer.encode(" " + turns[i + 1].strip()).ids
        ids += asked + reply
        targets += [IGNORE] * (len(asked) - 1) + reply + [END_ID]
    return [*ids, END_ID], [*targets, IGNORE]


def reply_ends(work: Path) -> Callable[[NDArray[np.uint16], NDArray[np.uint16]], NDArray[np.bool_]]:
    """A function of tokens and the tokens after them, for where a blank line ends a reply."""
    separator, *user = load_tokenizer(work / "tokenizer.json").encode(f"{SEPARATOR}User").ids

    def ends(tokens: NDArray[np.uint16], following: NDArray[np.uint16]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (tokens == separator) & (following == user[0])
        return found

    return ends
