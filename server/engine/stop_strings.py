"""Stop strings in a text that comes piece by piece."""


class StopStrings:
    """Lets text through until a stop string is complete; holds back what might become one.

    The result does not depend on how the text is cut into pieces: the stop string that is complete
    first wins, the longest of those that end together. Every character is looked at once for each
    stop string, however much is held back: at most one less than the longest stop string has.
    """

    def __init__(self, stops: tuple[str, ...], shown: tuple[str, ...] = ()) -> None:
        """`shown` are those of the stop strings that are output when they end the text."""
        self._shown = shown
        self._matches = [_Match(stop) for stop in stops]
        self._held = ""
        self.found = ""
        """The one that ended the text."""

    def push(self, text: str) -> str:
        """Add text; return what is certain to be output."""
        ends = [
            (end, -len(match.stop)) for match in self._matches if (end := match.push(text)) >= 0
        ]
        held = self._held + text
        if ends:
            end, negative_length = min(ends)
            end += len(self._held)
            self.flush()
            self.found = held[end + negative_length : end]
            return held[: end if self.found in self._shown else end + negative_length]
        certain = len(held) - max((match.length for match in self._matches), default=0)
        self._held = held[certain:]
        return held[:certain]

    def flush(self) -> str:
        """The text held back, when no more will come."""
        held, self._held = self._held, ""
        for match in self._matches:
            match.length = 0
        return held


class _Match:
    """How much of a stop string a text ends with, by Knuth, Morris and Pratt."""

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.length = 0
        """Of the longest end of the text with which the stop string begins."""
        # borders[n]: how many of the first n characters, but not all, are at their end again. They
        # are found as far as the text has come: most stop strings never begin.
        self._borders = [0, 0]

    def push(self, text: str) -> int:
        """Add text; returns where in it the stop string is complete first, or −1."""
        stop, borders, length, position = self.stop, self._borders, self.length, 0
        while position < len(text):
            if not length:
                position = text.find(stop[0], position)
                if position < 0:
                    break
            else:
                while length and stop[length] != text[position]:
                    length = borders[length]
                if stop[length] != text[position]:
                    position += 1
                    continue
            position += 1
            length += 1
            if length == len(stop):
                return position
            if length == len(borders):
                borders.append(_next_border(stop, borders))
        self.length = length
        return -1


def _next_border(stop: str, borders: list[int]) -> int:
    """The border of one character more than those that are known."""
    last = stop[len(borders) - 1]
    length = borders[-1]
    while length and stop[length] != last:
        length = borders[length]
    return length + 1 if stop[length] == last else 0
