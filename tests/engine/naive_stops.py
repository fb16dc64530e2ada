"""Stop strings found by looking at all that is held back, again with every piece."""


class NaiveStopStrings:
    """Lets text through until a stop string is complete; holds back what might become one.

    The result does not depend on how the text is cut into pieces: the stop string that is complete
    first wins, the longest of those that end together.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.found = ""
        """The one that ended the text."""

    def push(self, text: str) -> str:
        """Add text; return what is certain to be output."""
        held = self._held + text
        ends = [
            (place + len(stop), -len(stop))
            for stop in self._stops
            if (place := held.find(stop)) >= 0
        ]
        if ends:
            end, negative_length = min(ends)
            self.found = held[end + negative_length : end]
            self._held = ""
            return held[: end + negative_length]
        certain = len(held) - self._possible_start(held)
        self._held = held[certain:]
        return held[:certain]

    def flush(self) -> str:
        """The text held back, when no more will come."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
