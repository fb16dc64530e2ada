"""Text that might become a marker."""


def split_at(text: str, marker: str) -> tuple[str, bool, str]:
    """What is before the marker, whether it is there, and the rest.

    Without it the rest is the longest end of the text with which a marker might begin.
    """
    place = text.find(marker)
    if place >= 0:
        return text[:place], True, text[place + len(marker) :]
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-length:]):
            return text[:-length], False, text[-length:]
    return text, False, ""
