"""What can be wrong with a grammar, and where in a schema."""

MAX_BYTES = 128 << 10
"""Of a grammar or schema as text."""


class GrammarError(ValueError):
    """A grammar that cannot be honoured: one line that says why."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= 400 else f"{line[:400]}…")


class SchemaError(GrammarError):
    """A JSON schema that cannot be kept to, by the path of the keyword at fault."""

    def __init__(self, at: str, message: str) -> None:
        super().__init__(f"{at[:200]}: {message}" if at else message)


def within(at: str, name: str | int) -> str:
    """The path of what a schema has under a name or number."""
    if isinstance(name, int):
        return f"{at}[{name}]"
    return f"{at}.{name}" if at else name
