"""Integers that are written as 16.0 or 1e2: JSON has one kind of number, its clients as well."""

from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel


def whole_numbers(kind: type[BaseModel], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with integers where the model has them; others stay what they are."""
    found = {
        name: as_whole(fields[name])
        for name in _integers(kind)
        if isinstance(fields.get(name), float | list)
    }
    return fields | found if found else fields


def as_whole(value: Any) -> Any:
    """A number as an integer if it is one, also those of a list and of its lists."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list) and any(isinstance(each, float | list) for each in value):
        return [as_whole(each) for each in value]
    return value


@lru_cache(maxsize=256)
def _integers(kind: type[BaseModel]) -> tuple[str, ...]:
    """The fields that are integers, or lists of them, and no other numbers."""
    return tuple(name for name, field in kind.model_fields.items() if _is_integer(field.annotation))


def _is_integer(annotation: Any) -> bool:
    """Whether a type has integers in it, and neither floats nor anything that is not a list."""
    kinds = set(_leaves(annotation))
    return int in kinds and kinds <= {int, str, type(None)}


def _leaves(annotation: Any) -> list[Any]:
    if hasattr(annotation, "__metadata__"):
        return _leaves(annotation.__origin__)
    if get_origin(annotation) is not None and get_origin(annotation) is not dict:
        return [leaf for each in get_args(annotation) for leaf in _leaves(each)]
    # The values of a Literal; a bool is no integer.
    return [int if type(annotation) is int else annotation]
