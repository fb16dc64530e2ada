"""The names of the functions that a model is offered, and what it makes of them."""

import re
from collections.abc import Iterable

_SEPARATOR = re.compile(r"[.:/]")


class OfferedNames:
    """Finds an offered name in what a model wrote, which may add or forget a namespace."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._without_namespace: dict[str, str | None] = {}
        """None: several functions are called so."""
        for name in self._names:
            last = _last(name)
            self._without_namespace[last] = None if last in self._without_namespace else name

    def __bool__(self) -> bool:
        return bool(self._names)

    def find(self, written: str) -> str | None:
        """The function that is meant; the name as written if that may be several; None: none."""
        if written in self._names:
            return written
        last = _last(written)
        if last not in self._without_namespace:
            return None
        return self._without_namespace[last] or written


def _last(name: str) -> str:
    return _SEPARATOR.split(name)[-1]
