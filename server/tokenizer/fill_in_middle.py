"""Fill in the middle: which models know it, and the prompt that they were trained on.

RWKV-7 G1c and later read a suffix first, then the prefix, and continue the prefix until the suffix
would follow. The markers between the parts are ordinary text, so a text that holds one, or that
completes one at its edge, would move the parts: such texts are refused.
"""

import re
from collections.abc import Iterable

MARKERS = ("✿prefix✿", "✿suffix✿", "✿middle✿")
"""What begins each part of a prompt. A model that writes one has written its middle."""

_EDGE = "✿"
_ANY_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
_TRAINED = re.compile(r"(?<![a-z0-9])(?:rwkv7)?g1[c-z]\d*(?![a-z0-9])", re.IGNORECASE)
"""G1c, G1d and so on as a word of a name: rwkv7-g1c-1.5b, RWKV7-0.1B-G1D."""


class MarkerInTextError(ValueError):
    """A text holds or completes a marker; the message is which one."""


def can_fill(choice: str, architecture: str, names: Iterable[str]) -> bool:
    """What the setting model.fill_in_middle, "auto", "on" or "off", means for a model.

    `names` are those of its file or folder: nothing in the weights tells.
    """
    if choice == "auto":
        return architecture == "rwkv7" and any(map(_TRAINED.search, names))
    return choice == "on"


def fill_head(suffix: str, before: str = "") -> str:
    """All of the prompt but the prefix, which follows; `before` is context from elsewhere."""
    of_prefix, of_suffix, of_middle = MARKERS
    return f"{before}{of_prefix}{of_suffix}{suffix}{of_middle}"


def check_no_marker(text: str) -> None:
    """Raise MarkerInTextError for a text that would be taken for more than a part of a prompt."""
    # Markers end and begin with the same character, so the edge of one can begin another.
    if found := _ANY_MARKER.search(f"{_EDGE}{text}{_EDGE}"):
        raise MarkerInTextError(found[0])
