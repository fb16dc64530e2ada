"""What names of models and of their parts may look like, in settings and in requests."""

import math
from typing import Annotated

from pydantic import AfterValidator, Field


def split_adapter(text: str) -> tuple[str, float | None]:
    """The file and the alpha of FILE[:ALPHA]; without a number at its end all of it is the file.

    Raises ValueError when there is no file, or alpha is not a positive number.
    """
    file, colon, number = text.rpartition(":")
    alpha = None
    try:
        alpha = float(number) if colon else None
    except ValueError:
        colon = ""
    file = file if colon else text
    if not file:
        raise ValueError("an adapter is FILE or FILE:ALPHA")
    if alpha is not None and not 0 < alpha < math.inf:
        raise ValueError("alpha of an adapter must be a positive number")
    return file, alpha


def _check_model_name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("must be printable, without blanks around it")
    return name


def _check_state_name(name: str) -> str:
    if ":" in name:
        raise ValueError("must not have a colon")
    return name


def _check_adapter(text: str) -> str:
    split_adapter(text)
    return text


ModelName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_model_name)]
"""An id or an alias; it may have slashes."""
StateName = Annotated[ModelName, AfterValidator(_check_state_name)]
"""The name of an initial state: it follows a model's id and a colon."""
AdapterText = Annotated[str, AfterValidator(_check_adapter)]
"""FILE or FILE:ALPHA."""
