"""Patterns of strings without look-around, which a grammar has no way to do."""

from collections.abc import Iterator

_MAX_AHEAD = 8
"""Patterns that one may look ahead to."""
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")
_EMAIL = (
    r"^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]"
    r"@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
)
_TIME = r"(?:(?:\d+H)?(?:\d+M)?\d+S|(?:\d+H)?\d+M|\d+H)"
_DURATION = (
    rf"^P(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?T{_TIME}"
    r"|(?:\d+Y)?(?:\d+M)?\d+D|(?:\d+Y)?\d+M|\d+Y)$"
)
_KNOWN = {
    # Of zod: what is of these is of those.
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
    r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": _EMAIL,
    r"^(?!\.)(?!.*\.\.)([A-Z0-9_'+\-\.]*)[A-Z0-9_+-]"
    r"@([A-Z0-9][A-Z0-9\-]*\.)+[A-Z]{2,}$": _EMAIL.replace("A-Za-z", "A-Z"),
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$": _DURATION,
}


def without_looking(pattern: str) -> list[str]:
    """Patterns that a string must all match, for one that looks ahead at its beginning."""
    if pattern in _KNOWN:
        return [_KNOWN[pattern]]
    ahead: list[str] = []
    rest = pattern
    while rest.startswith("^(?=") and len(ahead) < _MAX_AHEAD:
        end = _end_of_group(rest)
        if not end:
            return [pattern]
        ahead.append(f"^(?:{rest[4 : end - 1]})")
        rest = f"^{rest[end:]}"
    if any(token == "|" and depth == 0 for _, token, depth in _tokens(rest)):
        return [pattern]  # "^" is of its first part alone
    return [rest, *ahead]


def is_plain(pattern: str) -> bool:
    """Whether it neither looks around nor refers back."""
    for at, token, _ in _tokens(pattern):
        if token == "(" and pattern.startswith(_LOOKS, at):
            return False
        if token[0] == "\\" and token[1:] in tuple("bB123456789k"):
            return False
    return True


def _end_of_group(pattern: str) -> int:
    """Where the first group ends; 0: nowhere."""
    return next((at + 1 for at, token, depth in _tokens(pattern) if token == ")" and not depth), 0)


def _tokens(pattern: str) -> Iterator[tuple[int, str, int]]:
    """The place of each character or escape outside of classes, and within how many groups."""
    at = depth = 0
    in_class = False
    while at < len(pattern):
        token = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        if in_class:
            in_class = token != "]"
        elif token == "[":
            in_class = True
        else:
            depth -= token == ")"
            yield at, token, depth
            depth += token == "("
        at += len(token)
