"""Whether a model thinks before it answers."""

import re
from typing import Literal

from server.tokenizer.chat_template import ChatTemplate

Reasoning = Literal["asked", "on", "off"]
"""It thinks when a request asks for it or its template does, unless a request says no, or never."""

_G1 = re.compile(r"rwkv-?7[-_]g\d", re.IGNORECASE)


def reasoning_of(choice: str, template: ChatTemplate, name: str) -> Reasoning:
    """What the setting model.reasoning, "auto", "on" or "off", means for a model.

    `name` is that of the checkpoint: World and G1 models have the same template, the built-in
    one, but official G1 models are called rwkv7-g1….
    """
    if choice == "on":
        return "on"
    if choice == "auto" and _can_think(template, name):
        return "asked"
    return "off"


def _can_think(template: ChatTemplate, name: str) -> bool:
    return template.writes_thoughts or (template.built_in and _G1.search(name) is not None)
