"""Whether no value can be of two schemas: only where that is certain, and in bounded time."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from server.grammars.errors import GrammarError
from server.grammars.schemas.document import Part

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_BASIC = {**{name: {name} for name in TYPES}, "number": {"integer", "number"}}
"""Of values: those of the type integer have no fraction, those of number have one."""
_MAX_DEPTH = 12
MAX_CONJUNCTS = 64
"""Of the schemas that a value must be of, so many are looked at."""


class Comparison:
    """Compares schemas of one request, in bounded time."""

    def __init__(self, max_steps: int = 20_000) -> None:
        self._steps = max_steps

    def disjoint(self, one: Part, other: Part, depth: int = 0) -> bool:
        """Whether certainly no value is of both schemas. Raises GrammarError after too long."""
        self._spend(1)
        if depth > _MAX_DEPTH:
            return False
        left, right = list(conjuncts(one)), list(conjuncts(other))
        if any(part.schema is False for part in (*left, *right)):
            return True
        self._spend(sum(1 + len(_list(part.schema, "enum")) for part in (*left, *right)))
        if self._options_disjoint(left, other, depth) or self._options_disjoint(right, one, depth):
            return True
        types = _types(left) & _types(right)
        if all(self._apart(name, left, right, depth) for name in types):
            return True
        return _values_apart(left, right) or _values_apart(right, left)

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise GrammarError("too complex: its options are too many to be told apart")

    def _options_disjoint(self, left: list[Part], other: Part, depth: int) -> bool:
        for part in left:
            for name in ("anyOf", "oneOf"):
                options = _list(part.schema, name)
                if options and all(
                    self.disjoint(part.to(option), other, depth + 1) for option in options
                ):
                    return True
        return False

    def _apart(self, name: str, left: list[Part], right: list[Part], depth: int) -> bool:
        """Whether no value of this type is of both."""
        if name in ("integer", "number"):
            return _least([*left, *right]) > _greatest([*left, *right])
        if name == "object":
            return self._objects_apart(left, right, depth)
        if name == "array":
            return self._arrays_apart(left, right, depth)
        return False

    def _objects_apart(self, left: list[Part], right: list[Part], depth: int) -> bool:
        required = {name for part in (*left, *right) for name in _list(part.schema, "required")}
        self._spend(len(required))
        for name in sorted(name for name in required if isinstance(name, str)):
            ours = [value for part in left for value in property_of(part, name)]
            theirs = [value for part in right for value in property_of(part, name)]
            if any(value.schema is False for value in (*ours, *theirs)):
                return True
            if any(self.disjoint(a, b, depth + 1) for a in ours for b in theirs):
                return True
        return False

    def _arrays_apart(self, left: list[Part], right: list[Part], depth: int) -> bool:
        both = [*left, *right]
        least = max((_count(part.schema, "minItems", 0) for part in both), default=0)
        if least > min(_count(part.schema, "maxItems", 1 << 62) for part in both):
            return True
        for number in range(min(least, 16)):
            ours = [value for part in left for value in _item_of(part, number)]
            theirs = [value for part in right for value in _item_of(part, number)]
            if any(self.disjoint(a, b, depth + 1) for a in ours for b in theirs):
                return True
        return False


def types_of(schema: Part) -> set[str]:
    """Which types values of a schema can have."""
    return _types(list(conjuncts(schema)))


def values_of(schema: Part) -> list[Any] | None:
    """The only values that a schema can have, if it says which."""
    for part in conjuncts(schema):
        if isinstance(part.schema, Mapping):
            if "const" in part.schema:
                return [part.schema["const"]]
            if isinstance(part.schema.get("enum"), list):
                return list(part.schema["enum"])
            if part.schema.get("type") == "boolean":
                return [False, True]
            if part.schema.get("type") == "null":
                return [None]
    return None


def values_of_property(schema: Part, name: str) -> list[Any] | None:
    """The only values that a property can have which objects of a schema must have."""
    if types_of(schema) - {"object"}:
        return None
    together = list(conjuncts(schema))
    if not any(name in _list(part.schema, "required") for part in together):
        return None
    found = [values_of(each) for part in together for each in property_of(part, name)]
    return next((values for values in found if values is not None), None)


def key_of(value: Any) -> str:
    """Equal for values that are equal in JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def property_of(part: Part, name: str) -> Iterator[Part]:
    """What a schema says itself of a property."""
    schema = part.schema
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        yield part.to(properties[name])
    elif not schema.get("patternProperties") and "additionalProperties" in schema:
        yield part.to(schema["additionalProperties"])


def conjuncts(part: Part) -> Iterator[Part]:
    """All schemas that a value must be of, itself first, each without what it refers to."""
    waiting, seen = [part], 0
    while waiting and seen < MAX_CONJUNCTS:
        each, seen = waiting.pop(), seen + 1
        yield each
        if not isinstance(each.schema, Mapping):
            continue
        waiting += [each.to(inner) for inner in _list(each.schema, "allOf")]
        reference = each.schema.get("$ref")
        if isinstance(reference, str):
            try:
                waiting.append(each.to(each.document.resolve(reference)))
            except KeyError:
                continue


def _types(conjuncts: list[Part]) -> set[str]:
    found = set(TYPES)
    for part in conjuncts:
        if isinstance(part.schema, Mapping):
            found &= _own_types(part.schema)
    return found


def _own_types(schema: Mapping[str, Any]) -> set[str]:
    given = schema.get("type")
    names = [given] if isinstance(given, str) else given if isinstance(given, list) else TYPES
    found = {each for name in names if isinstance(name, str) for each in _BASIC.get(name, ())}
    if "const" in schema:
        found &= {type_of(schema["const"])}
    if isinstance(schema.get("enum"), list):
        found &= {type_of(value) for value in schema["enum"]}
    return found


def type_of(value: Any) -> str:
    """As the types of schemas are called."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == value // 1 else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _values_apart(left: list[Part], right: list[Part]) -> bool:
    """Whether the left schemas have certain values, none of which is of the right ones."""
    values = next((v for part in left if (v := values_of(part)) is not None), None)
    if values is None:
        return False
    types = _types(right)
    others = next((v for part in right if (v := values_of(part)) is not None), None)
    keys = None if others is None else set(map(key_of, others))
    return all(
        type_of(value) not in types
        or (keys is not None and key_of(value) not in keys)
        or _excluded(right, value)
        for value in values
    )


def _excluded(conjuncts: list[Part], value: Any) -> bool:
    """Whether a value is out of the bounds of schemas."""
    for part in conjuncts:
        if isinstance(value, str) and not (
            _count(part.schema, "minLength", 0)
            <= len(value)
            <= _count(part.schema, "maxLength", 1 << 62)
        ):
            return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and not _least(conjuncts) <= value <= _greatest(conjuncts)


def _item_of(part: Part, number: int) -> Iterator[Part]:
    if isinstance(part.schema, Mapping):
        first = _list(part.schema, "prefixItems")
        if number < len(first):
            yield part.to(first[number])
        elif isinstance(part.schema.get("items"), Mapping):
            yield part.to(part.schema["items"])


def _least(conjuncts: list[Part]) -> float:
    given = [number(part.schema, name) for part in conjuncts for name in _LEAST]
    return max((each for each in given if each is not None), default=float("-inf"))


def _greatest(conjuncts: list[Part]) -> float:
    given = [number(part.schema, name) for part in conjuncts for name in _GREATEST]
    return min((each for each in given if each is not None), default=float("inf"))


_LEAST, _GREATEST = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def number(schema: Any, name: str) -> float | None:
    """A number that a schema has under a name."""
    value = schema.get(name) if isinstance(schema, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(schema: Any, name: str, default: int) -> int:
    found = number(schema, name)
    return default if found is None else int(found)


def _list(schema: Any, name: str) -> list[Any]:
    value = schema.get(name) if isinstance(schema, Mapping) else None
    return value if isinstance(value, list) else []
