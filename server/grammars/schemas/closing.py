"""Schemas without the properties that they only allow by not forbidding them."""

from collections.abc import Mapping
from typing import Any

from server.grammars.errors import GrammarError

# Where a schema has others, by JSON Schema's keywords.
_SCHEMAS_BY_NAME = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_LISTS_OF_SCHEMAS = frozenset(("anyOf", "oneOf", "prefixItems"))
_SCHEMAS = frozenset(("items", "additionalProperties"))
_OPENS = frozenset(("additionalProperties", "patternProperties", "anyOf", "oneOf", "$ref"))
_OPENS_NAMES = frozenset(("propertyNames", "unevaluatedProperties"))
"""Keywords beside `properties` that speak of others."""


class Closing:
    """A closed schema, and what its parts were before."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raise GrammarError for a schema that is nested too deeply."""
        self._opened: dict[int, tuple[Any, Any]] = {}
        try:
            is_open = _mentions(schema, "allOf")
            self.schema: dict[str, Any] = dict(schema) if is_open else self._closed(schema)
        except RecursionError:
            raise GrammarError("nested too deeply") from None

    def opened(self, part: Any) -> Any:
        """What a part of the closed schema was in the schema as it came."""
        return self._opened.get(id(part), (part, part))[1]

    def _closed(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        found = dict(schema)
        for key in _SCHEMAS_BY_NAME & schema.keys():
            if isinstance(schema[key], Mapping):
                found[key] = {name: self._closed(each) for name, each in schema[key].items()}
        for key in _LISTS_OF_SCHEMAS & schema.keys():
            if isinstance(schema[key], list):
                found[key] = [self._closed(each) for each in schema[key]]
        for key in _SCHEMAS & schema.keys():
            found[key] = self._closed(schema[key])
        if "properties" in schema and not (_OPENS | _OPENS_NAMES) & schema.keys():
            found |= _shut(found)
        self._opened[id(found)] = found, schema  # kept, so that no other part gets its id
        return found


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without properties that it only allows by not forbidding them.

    A weak model invents them forever if it may. Where schemas are put together they stay as they
    are: what one leaves open another may need. Raises GrammarError.
    """
    return Closing(schema).schema


def _shut(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing but the properties that it names, or requires without naming what they are."""
    properties, required = schema["properties"], schema.get("required")
    shut: dict[str, Any] = {"additionalProperties": False}
    if isinstance(properties, Mapping) and isinstance(required, list):
        names = [name for name in required if isinstance(name, str) and name not in properties]
        if names:
            shut["properties"] = {**properties, **dict.fromkeys(names, True)}
    return shut


def _mentions(value: Any, key: str) -> bool:
    if isinstance(value, Mapping):
        return key in value or any(_mentions(each, key) for each in value.values())
    return isinstance(value, list) and any(_mentions(each, key) for each in value)
