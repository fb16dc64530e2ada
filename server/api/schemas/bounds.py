"""How many items the lists of requests may have, where the field itself has no reason for fewer.

More than honest clients send, and few enough that to check and render them takes moments. What has
any form, such as a JSON schema, is bounded by http.max_body_values alone.
"""

from typing import Any

from pydantic import BeforeValidator

from server.api.schemas.validation import invalid

MAX_MESSAGES = 10_000
MAX_PARTS = 2048
"""Of a message: text parts, or blocks."""
MAX_CALLS = 1024
"""Calls of tools in a message."""
MAX_PROMPTS = 4096
"""Texts or lists of token ids, before the server's own limit of choices is looked at."""
MAX_STRINGS = 1024
"""Of lists that have a tighter bound once a request has been translated."""
MAX_METADATA = 16
"""Fields of metadata, as with OpenAI."""
MAX_FIELDS = 1024
"""Of an object whose unknown fields are errors."""
MAX_CHOICES = 10_000
"""Strings of which the output is to be one."""


def at_most(items: int) -> BeforeValidator:
    """For fields that may be a list or something else, whose errors would name the latter.

    And for objects, each wrong field of which would be an error of its own.
    """

    def check(value: Any) -> Any:
        check_items(value, items)
        return value

    return BeforeValidator(check)


def check_items(value: Any, items: int) -> None:
    """Refuse a list or an object of more items."""
    if isinstance(value, list | dict) and len(value) > items:
        raise invalid(f"should have at most {items} items")
