"""The arguments of a call for clients that get them as an object."""

import json
from typing import Any

from pydantic_core import from_json


def arguments_object(text: str) -> dict[str, Any]:
    """What a model wrote as JSON; as much as there is of it, when it was cut.

    What is no object becomes one with the text in `arguments`.
    """
    if not text.strip():
        return {}
    try:
        value = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def arguments_text(arguments: Any) -> str:
    """The same as JSON again, when such a client sends it back."""
    return json.dumps(arguments, ensure_ascii=False)
