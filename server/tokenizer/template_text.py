"""Text that remembers which of its characters a chat template wrote.

Only what a template writes may stand for special tokens. So its literals are TemplateText, and each
operation that a template has for strings keeps track of their characters. Where one does not, its
result is a plain str, of which nothing counts as the template's: tracking can be lost, but no
character of anybody else's can gain it.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from string import Formatter
from typing import Any, Self, SupportsIndex

Ranges = tuple[tuple[int, int], ...]
"""Begin and end of runs of characters, in order; no two of them touch."""

MAX_REPEATED_RANGES = 1 << 16
"""Of a product such as `"<pad>" * 9`; of a longer one nothing is the template's."""

_CONVERSIONS = re.compile(r"%(?:\((?P<name>[^()]*)\))?(?P<kind>[s%])")


class TemplateText(str):
    """A string, and which runs of its characters a template wrote: `written`."""

    __slots__ = ("written",)

    written: Ranges

    def __new__(cls, text: object = "", written: Ranges = ()) -> Self:
        """`written` must lie within the text; without it nothing is the template's."""
        self = str.__new__(cls, text)
        self.written = written
        return self

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> str:
        if type(other) is str:
            return TemplateText(super().__add__(other), self.written)
        # Of another kind of string, such as Markup, the other operand decides.
        return joined((self, other)) if type(other) is TemplateText else NotImplemented

    def __radd__(self, other: str) -> str:
        return joined((other, self)) if type(other) is str else NotImplemented

    def __mul__(self, times: SupportsIndex) -> str:
        product = super().__mul__(times)
        count = len(product) // len(self) if self else 0
        if not self.written or count * len(self.written) > MAX_REPEATED_RANGES:
            return product
        return joined([self] * count)

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        made = super().__mod__(values)
        return _if_equal(_interpolated(self, values), made)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        text = super().__getitem__(key)
        if not isinstance(key, slice):
            start = range(len(self))[key]
        else:
            start, _, step = key.indices(len(self))
            if step != 1:
                return text
        return self._cut(start, text)

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self))) if self.written else super().__iter__()

    def strip(self, chars: str | None = None, /) -> str:
        start = len(self) - len(super().lstrip(chars)) if self.written else 0
        return self._cut(start, super().strip(chars))

    def lstrip(self, chars: str | None = None, /) -> str:
        text = super().lstrip(chars)
        return self._cut(len(self) - len(text), text)

    def rstrip(self, chars: str | None = None, /) -> str:
        return self._cut(0, super().rstrip(chars))

    def removeprefix(self, prefix: str, /) -> str:
        text = super().removeprefix(prefix)
        return self._cut(len(self) - len(text), text)

    def removesuffix(self, suffix: str, /) -> str:
        return self._cut(0, super().removesuffix(suffix))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(super().split(sep, maxsplit), None if sep is None else len(sep))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(super().rsplit(sep, maxsplit), None if sep is None else len(sep))

    def splitlines(self, keepends: bool = False) -> list[str]:
        whole = self._located(super().splitlines(keepends=True))
        if keepends:
            return whole
        return [line[: len(text)] for line, text in zip(whole, super().splitlines(), strict=True)]

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        before, found, after = self._located(super().partition(sep))
        return before, found, after

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        before, found, after = self._located(super().rpartition(sep))
        return before, found, after

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> str:
        text = super().replace(old, new, count)
        if not old or not (self.written or isinstance(new, TemplateText)):
            return text
        return TemplateText(new, getattr(new, "written", ())).join(self.split(old, count))

    def join(self, texts: Iterable[str], /) -> str:
        parts = list(texts)
        text = super().join(parts)
        if not self.written and not any(isinstance(part, TemplateText) for part in parts):
            return TemplateText(text)
        woven: list[str] = [self] * max(0, 2 * len(parts) - 1)
        woven[::2] = parts
        return joined(woven)

    def upper(self) -> str:
        return self._cased(super().upper())

    def lower(self) -> str:
        return self._cased(super().lower())

    def casefold(self) -> str:
        return self._cased(super().casefold())

    def capitalize(self) -> str:
        return self._cased(super().capitalize())

    def title(self) -> str:
        return self._cased(super().title())

    def swapcase(self) -> str:
        return self._cased(super().swapcase())

    def _cased(self, text: str) -> str:
        # One character becomes one or more: as many in all means that each became one.
        return TemplateText(text, self.written) if len(text) == len(self) else text

    def _cut(self, start: int, text: str) -> "TemplateText":
        """The text, which begins at one of these characters."""
        if not self.written:
            return TemplateText(text)
        end = start + len(text)
        first = bisect_right(self.written, start, key=itemgetter(1))
        last = bisect_left(self.written, end, key=itemgetter(0))
        written = tuple(
            (max(low, start) - start, min(high, end) - start)
            for low, high in self.written[first:last]
        )
        return TemplateText(text, written if text else ())

    def _located(self, parts: Sequence[str], gap: int | None = 0) -> list[str]:
        """Parts that follow each other in this text, with what of them is the template's.

        `gap` is how many characters there are between two of them; None: whitespace, with which
        only the first of them may begin.
        """
        if not self.written:
            return list(parts)
        found: list[str] = []
        position = 0
        for part in parts:
            if gap is None:
                position = self.index(part, position)
            found.append(self._cut(position, part))
            position += len(part) + (gap or 0)
        return found


def literal(text: str) -> TemplateText:
    """Text that a template writes."""
    return TemplateText(text, ((0, len(text)),) if text else ())


def plain(text: str) -> str:
    """The same characters as a string that knows nothing of them."""
    return str.__str__(text)


def joined(parts: Iterable[str]) -> TemplateText:
    """The parts one after the other."""
    first, *others = list(parts) or [""]
    written = list(first.written) if isinstance(first, TemplateText) else []
    position = len(first)
    for part in others:
        for start, end in part.written if isinstance(part, TemplateText) else ():
            if written and written[-1][1] == position + start:
                written[-1] = (written[-1][0], position + end)
            else:
                written.append((position + start, position + end))
        position += len(part)
    return TemplateText("".join((first, *others)), tuple(written))


def formatted(
    formatter: Formatter, text: str, values: Sequence[Any], named: Mapping[str, Any]
) -> str:
    """What the formatter makes of the text and the values."""
    made = formatter.vformat(text, values, named)
    if not _is_all_written(text):
        return made
    pieces: list[str] = []
    number = 0
    for said, field, spec, conversion in formatter.parse(text):
        pieces.append(literal(said))
        if field is None:
            continue
        if not field or field[0] in ".[":
            field, number = f"{number}{field}", number + 1
        if spec or conversion:
            return made
        value, _ = formatter.get_field(field, values, named)
        pieces.append(value if isinstance(value, str) else formatter.format_field(value, ""))
    return _if_equal(pieces, made)


def _interpolated(text: TemplateText, values: Any) -> list[str]:
    """The pieces of `text % values`, as far as these are strings; else something unequal."""
    if not _is_all_written(text):
        return []
    given = iter(values if isinstance(values, tuple) else (values,))
    pieces: list[str] = []
    position = 0
    for match in _CONVERSIONS.finditer(text):
        pieces.append(text[position : match.start()])
        position = match.end()
        if "%" in pieces[-1]:  # a conversion of another kind
            return []
        if match["kind"] == "%":
            pieces.append(literal("%"))
            continue
        name = match["name"]
        value = next(given, "") if name is None else values.get(str(name), "")
        pieces.append(value if isinstance(value, str) else str(value))
    rest = text[position:]
    return [] if "%" in rest else [*pieces, rest]


def _if_equal(pieces: list[str], made: str) -> str:
    """The pieces as one text if that is what the operation made, or this."""
    text = joined(pieces)
    return text if text == made else made


def _is_all_written(text: str) -> bool:
    return isinstance(text, TemplateText) and text.written == ((0, len(text)),)
