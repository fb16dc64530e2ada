"""How much there is in a JSON text, counted without making anything of it.

NumPy does the work in pieces, without the interpreter's lock, so that the event loop goes on.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_NUMBERS = 1_100_000
"""Numbers, booleans and nulls of a body: a prompt may be a million token ids."""
MAX_LEVELS = 512
"""Of nesting. Fields that are shown to a model or made a grammar have tighter bounds."""
MAX_DIGITS = 4300
"""Characters of a number: as many digits as int() reads."""
LONG_DIGITS = 400
"""The largest float has 309. The time to read an integer grows with the square of its length."""
MAX_LONG_NUMBERS = 100
"""Numbers of more than LONG_DIGITS characters."""

_PIECE = 128 << 10
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_OPENS, _CLOSES, _COMMA, _FRACTION, _NUMBER = 1, 2, 4, 8, 16

Bytes = npt.NDArray[np.uint8]
Booleans = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]


def _kinds() -> Bytes:
    """What a byte outside of strings means."""
    kinds = np.zeros(256, np.uint8)
    for characters, kind in (
        ("[{", _OPENS),
        ("]}", _CLOSES),
        (",", _COMMA),
        (".eE", _FRACTION),
        ("0123456789+-.eE", _NUMBER),
    ):
        kinds[[*characters.encode()]] |= kind
    return kinds


_KINDS = _kinds()
_NOT_DIGITS = bytes(each for each in range(256) if each not in b"0123456789+-")


class TooManyValuesError(ValueError):
    """There are more values than a body may have."""


class TooDeepError(ValueError):
    """Values are nested too deeply."""


class LongNumberError(ValueError):
    """A number has too many digits, or too many have many."""


class Counter:
    """Counts on over the pieces of a JSON text in UTF-8, until it is over a bound.

    What comes after an error of syntax may be counted wrongly; parsers stop there.
    """

    def __init__(self, max_values: int, max_numbers: int = MAX_NUMBERS) -> None:
        self.values = 0
        """Strings, keys too, objects, lists, and numbers with a fraction or an exponent."""
        self.items = 0
        """Values in lists and objects, of any kind; an empty one has one."""
        self._max_values = max_values
        self._max_items = max_values + max_numbers
        self._long_numbers = 0
        self.begin()

    def begin(self) -> None:
        """Another text follows."""
        self.level = 0
        self._in_string = False
        self._is_escaped = False
        self._digits = 0
        self._in_fraction = False

    def add(self, piece: Bytes) -> None:
        """Raises TooManyValuesError, TooDeepError or LongNumberError."""
        if not len(piece):
            return
        quotes = self._unescaped_quotes(piece)
        count = int(np.count_nonzero(quotes))
        kinds = np.take(_KINDS, piece)
        if count or self._in_string:
            inside = np.cumsum(quotes, dtype=np.uint8)  # modulo 256: only odd or even matters
            inside += self._in_string
            inside &= 1
            inside -= 1  # 255 outside, 0 inside
            kinds &= inside
        opens = (kinds & _OPENS) != 0
        opened = int(np.count_nonzero(opens))
        self.values += (count + int(not self._in_string)) // 2  # those that begin here
        self._in_string ^= bool(count & 1)
        outside = np.flatnonzero((kinds & _NUMBER) == 0)  # of numbers
        self.values += opened + self._fractions(kinds, outside)
        self.items += opened + int(np.count_nonzero(kinds & _COMMA))
        self._count_levels(kinds, opens, opened)
        self._check_digits(outside, len(kinds))
        if self.values > self._max_values or self.items > self._max_items:
            raise TooManyValuesError

    def _unescaped_quotes(self, piece: Bytes) -> Booleans:
        quotes: Booleans = piece == _QUOTE
        positions = np.flatnonzero(piece == _BACKSLASH)
        if self._is_escaped and piece[0] != _BACKSLASH:
            quotes[0] = False
        if not len(positions):
            self._is_escaped = False
            return quotes
        # Of a run of backslashes the last escapes what follows if their number is odd.
        breaks = np.flatnonzero(np.diff(positions) != 1)
        first = positions[np.concatenate(([0], breaks + 1))]
        after = positions[np.concatenate((breaks, [len(positions) - 1]))] + 1
        lengths = after - first
        if self._is_escaped and first[0] == 0:
            lengths[0] -= 1
        escaped = after[lengths % 2 == 1]
        self._is_escaped = bool(len(escaped)) and int(escaped[-1]) == len(piece)
        quotes[escaped[escaped < len(piece)]] = False
        return quotes

    def _count_levels(self, kinds: Bytes, opens: Booleans, opened: int) -> None:
        closes = (kinds & _CLOSES) != 0
        if self.level + opened > MAX_LEVELS:
            change = opens.astype(np.int32) - closes
            if self.level + int(np.cumsum(change, out=change).max()) > MAX_LEVELS:
                raise TooDeepError
        self.level += opened - int(np.count_nonzero(closes))

    def _fractions(self, kinds: Bytes, outside: Positions) -> int:
        """The numbers of which the first sign of a fraction or an exponent is here."""
        signs = np.flatnonzero((kinds & _FRACTION) != 0)
        was_in_fraction = self._in_fraction
        self._in_fraction &= not len(outside)
        if not len(signs):
            return 0
        numbers = np.searchsorted(outside, signs)  # 0: one that may have begun earlier
        starts = np.concatenate(([-self._digits], outside + 1))
        # Nothing of a number is before the e of true and false.
        numbers = numbers[signs > starts[numbers]]
        if not len(numbers):
            return 0
        self._in_fraction |= int(numbers[-1]) == len(outside)
        is_known = was_in_fraction and numbers[0] == 0
        return 1 + int(np.count_nonzero(np.diff(numbers))) - int(is_known)

    def _check_digits(self, outside: Positions, size: int) -> None:
        if len(outside):
            lengths = np.diff(outside, prepend=-1 - self._digits) - 1
            self._digits = size - 1 - int(outside[-1])
            if int(lengths.max()) > LONG_DIGITS:
                self._long_numbers += int(np.count_nonzero(lengths > LONG_DIGITS))
                if int(lengths.max()) > MAX_DIGITS or self._long_numbers > MAX_LONG_NUMBERS:
                    raise LongNumberError
        else:
            self._digits += size
        if self._digits > MAX_DIGITS:
            raise LongNumberError


def check_sizes(texts: Sequence[str], max_values: int) -> None:
    """Raises what Counter does for JSON texts that have more together; they may be no JSON.

    For JSON in the strings of a body. There may be as many numbers beside the values.
    """
    if sum(map(_most, texts)) <= max_values:
        return
    counter = Counter(max_values, max_values)
    for text in texts:
        counter.begin()
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE].encode("utf-8", "surrogatepass")
            counter.add(np.frombuffer(piece, np.uint8))


def _most(text: str) -> int:
    """At least as many values and items as a JSON text has: fractions are items, too."""
    opens = text.count("[") + text.count("{")
    return 1 + 2 * opens + text.count('"') // 2 + text.count(",")


def most_of_little(text: bytes | bytearray, max_values: int) -> tuple[int, int] | None:
    """At least as many values and items as a JSON text in UTF-8 has, if it is within all bounds.

    None if it takes a Counter to know that. For most requests this takes a tenth of the time.
    """
    opens = text.count(b"[") + text.count(b"{")
    if len(text) > max_values or opens > MAX_LEVELS:
        return None
    # Besides digits and signs, a number has at most a point and an e.
    if len(text.translate(None, _NOT_DIGITS)) > LONG_DIGITS - 2:
        return None
    return opens + text.count(b'"') // 2, opens + text.count(b",")
