"""Rules for numbers, strings and certain values: as the compiler takes them, and no wider."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from server.grammars.errors import SchemaError, within
from server.grammars.schemas.disjoint import TYPES, number
from server.grammars.schemas.patterns import is_plain, without_looking

Schema = dict[str, Any]

FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
"""Formats that are kept to. Others are annotations."""

_FORMAT_PATTERNS = {
    f"uuid{version}": f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}"
    "-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    for version in range(1, 9)
}
"""Formats of pydantic that its models insist on."""
_MAX_INTEGER = 2**63 - 1024
"""The largest integer that the compiler holds exactly, being a double."""
_MAX_NUMBER = 10**18
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def checked_types(schema: Schema, at: str) -> Schema:
    """Refuse types that there are not; an object is meant where properties have no type."""
    given = schema.get("type")
    for name in given if isinstance(given, list) else [given]:
        if name is not None and name not in TYPES:
            known = ", ".join(TYPES)
            raise SchemaError(within(at, "type"), f"should be one of {known} (got {name!r:.40})")
    if given is None:
        schema.pop("type", None)
        if {"properties", "patternProperties"} & schema.keys():
            schema.setdefault("type", "object")
    return schema


def plain_counts(schema: Schema, at: str) -> Schema:
    """Counts as integers, also those written with a point, without those that allow all."""
    for name in _COUNTS:
        if name not in schema:
            continue
        count = number(schema, name)
        if count is None or count < 0 or count != count // 1:
            raise SchemaError(within(at, name), f"should be an integer of at least 0 (got {count})")
        schema[name] = int(count)
    return schema


def plain_strings(schema: Schema, at: str) -> Schema:
    """Formats that the compiler knows, and patterns without look-around."""
    name = str(schema.get("format"))
    if name in _FORMAT_PATTERNS:
        schema.setdefault("pattern", _FORMAT_PATTERNS[name])
    if name not in FORMATS:
        schema.pop("format", None)
    pattern = schema.get("pattern")
    if pattern is None:
        schema.pop("pattern", None)
    elif not isinstance(pattern, str):
        raise SchemaError(within(at, "pattern"), "should be a regular expression as a string")
    else:
        first, *others = without_looking(pattern)
        if not all(map(is_plain, (first, *others))):
            raise SchemaError(
                within(at, "pattern"),
                "look-around, word boundaries and references back cannot be kept to; write it "
                "without them",
            )
        schema["pattern"] = first
        if others:
            added = [{"pattern": each} for each in others]
            schema["allOf"] = [*schema.get("allOf", ()), *added]
    return schema


def plain_numbers(schema: Schema, at: str) -> Schema:
    """Bounds that the compiler can hold: the given ones or, far from zero, tighter ones."""
    types = schema.get("type")
    names = types if isinstance(types, list) else [types]
    whole = "integer" in names and "number" not in names
    for name, sign in (
        ("minimum", -1),
        ("exclusiveMinimum", -1),
        ("maximum", 1),
        ("exclusiveMaximum", 1),
    ):
        if name not in schema or (isinstance(schema[name], bool) and "xclusive" in name):
            continue
        bound = number(schema, name)
        if bound is None or math.isnan(bound):
            raise SchemaError(within(at, name), "should be a number")
        schema[name] = _bound(bound, sign, whole, within(at, name))
    step = number(schema, "multipleOf")
    if "multipleOf" in schema and (step is None or step <= 0 or not _is_short(step)):
        raise SchemaError(
            within(at, "multipleOf"),
            f"should be a positive number of few digits (got {schema['multipleOf']!r:.40}); "
            "use another, such as 0.01, or leave it out",
        )
    return schema


def plain_values(schema: Schema, at: str) -> Schema:
    """Values of const and enum that can be written exactly."""
    if "enum" in schema:
        values = schema["enum"]
        if not isinstance(values, list) or not values:
            raise SchemaError(within(at, "enum"), "should be a list of at least one value")
        if values == [None] and schema.get("nullable") is True:
            schema.pop("type", None)  # how OpenAPI 3.0 says null
        schema["enum"] = [_exact(value, within(at, "enum")) for value in values]
    if "const" in schema:
        schema["const"] = _exact(schema["const"], within(at, "const"))
    return schema


def _bound(bound: float, sign: int, whole: bool, at: str) -> float:
    """The bound, or one nearer to zero; `sign` is that of the direction in which it bounds."""
    most = _MAX_INTEGER if whole else _MAX_NUMBER
    if bound * sign > most:
        return sign * most
    if bound * -sign > most:
        raise SchemaError(at, f"should be between -{most} and {most} (got {bound})")
    if isinstance(bound, int) and float(bound) != bound:  # what a double cannot hold
        near = float(bound)
        return int(near if near * sign < bound * sign else math.nextafter(near, -sign * math.inf))
    return bound


def _is_short(step: float) -> bool:
    """Whether the compiler gets to an integer by multiplying by ten."""
    value = float(step)
    for _ in range(12):
        if value.is_integer():
            return value < 2**32
        value *= 10
    return False


def _exact(value: Any, at: str) -> Any:
    if isinstance(value, list):
        return [_exact(each, at) for each in value]
    if isinstance(value, Mapping):
        return {name: _exact(each, at) for name, each in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        held = float(value) if abs(value) < 2**1000 else math.inf
        # What is no integer of 64 bits is written with as many digits as tell a double.
        if held != value or (abs(value) >= 2**63 and Decimal(repr(held)) != value):
            raise SchemaError(at, f"cannot be kept to exactly over 2^53 (got {value!s:.40})")
        return held if abs(value) >= 2**63 else value
    return value
