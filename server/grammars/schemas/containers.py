"""Rules for arrays and objects: what the compiler has no keyword for, in those that it has."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from server.grammars.errors import SchemaError, within
from server.grammars.schemas.disjoint import key_of, property_of, types_of, values_of
from server.grammars.schemas.document import ASSERTIONS, Part, says_nothing

Schema = dict[str, Any]

_VALUES = frozenset(("const", "enum", "type"))
MAX_OPTIONS = 64
"""Ways to choose properties or items, each an option of the grammar."""


def plain_items(schema: Schema, at: str, part: Part) -> Schema:
    """Without uniqueItems, contains and unevaluatedItems, or refused."""
    if "prefixItems" in schema:
        schema.pop("additionalItems", None)
    if (rest := schema.pop("unevaluatedItems", True)) is not True:
        if {"allOf", "anyOf", "oneOf", "$ref"} & schema.keys():
            raise SchemaError(within(at, "unevaluatedItems"), "use items instead")
        schema.setdefault("items", rest)
    least, most = schema.pop("minContains", 1), schema.pop("maxContains", None)
    wanted = schema.pop("contains", None)
    if wanted is not None and least != 0:
        if least != 1 or most is not None or "prefixItems" in schema:
            raise SchemaError(
                within(at, "contains"), "can be kept to alone only; use prefixItems or leave it out"
            )
        first = [wanted, schema["items"]] if "items" in schema else [wanted]
        schema["prefixItems"] = [{"allOf": first} if len(first) > 1 else wanted]
        schema["minItems"] = max(1, schema.get("minItems", 0))
    return _unique(schema, at, part)


def _unique(schema: Schema, at: str, part: Part) -> Schema:
    if schema.pop("uniqueItems", False) is not True or schema.get("maxItems", 2) <= 1:
        return schema
    items = schema.get("items")
    values = None if items is None or "prefixItems" in schema else values_of(part.to(items))
    if values is not None and schema.get("type") == "array":
        values = list({key_of(value): value for value in values}.values())
        most = min(schema.get("maxItems", 99), len(values), 99)
        sizes = range(schema.get("minItems", 0), most + 1)
        if len(values) < 99 and sum(math.comb(len(values), size) for size in sizes) <= MAX_OPTIONS:
            chosen = [list(some) for size in sizes for some in combinations(values, size)]
            return {**schema, "enum": chosen}
    if not types_of(part) & {"array"}:
        return schema
    raise SchemaError(
        within(at, "uniqueItems"),
        "that items differ cannot be kept to, but for a few values of an enum; leave it out and "
        "drop repeated items, or set maxItems to 1",
    )


def plain_names(schema: Schema, at: str, part: Part) -> Schema:
    """Names of properties by properties and patternProperties instead of propertyNames."""
    names = schema.pop("propertyNames", True)
    if says_nothing(names):
        return schema
    if names is False:
        return schema | {"maxProperties": 0}
    rule = _resolved(part.to(names))
    if rule.keys() & ASSERTIONS <= {"type"} and "string" in types_of(part.to(rule)):
        return schema
    rest, given = schema.get("additionalProperties", True), schema.get("properties", {})
    values = values_of(part.to(rule)) if rule.keys() & ASSERTIONS <= _VALUES else None
    if values is not None and "patternProperties" not in schema:
        found = {name: given.get(name, rest) for name in values if isinstance(name, str)}
        return {**schema, "properties": found, "additionalProperties": False}
    pattern = _name_pattern(rule)
    if pattern is None or given or "patternProperties" in schema:
        raise SchemaError(
            within(at, "propertyNames"),
            "can be kept to as an enum, a pattern or lengths, without other properties",
        )
    return {**schema, "patternProperties": {pattern: rest}, "additionalProperties": False}


_NAME_PATTERNS = {
    "uuid": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "date": "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])$",
}


def _name_pattern(rule: Mapping[str, Any]) -> str | None:
    """Of the names that a schema describes."""
    asserted = rule.keys() & ASSERTIONS - {"type"}
    if asserted == {"pattern"} and isinstance(rule["pattern"], str):
        return rule["pattern"]
    if asserted == {"format"}:
        return _NAME_PATTERNS.get(str(rule["format"]), "")
    if asserted <= {"minLength", "maxLength"}:
        return f"^[\\s\\S]{{{int(rule.get('minLength', 0))},{rule.get('maxLength', '')}}}$"
    return None


def _resolved(part: Part) -> Mapping[str, Any]:
    for _ in range(8):
        schema = part.schema
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        try:
            part = part.to(part.document.resolve(schema["$ref"]))
        except KeyError:
            break
    return part.schema if isinstance(part.schema, Mapping) else {}


def plain_required(schema: Schema, at: str, part: Part) -> Schema:
    """A list of names, each of which may be there."""
    required = schema.get("required")
    if required is None or isinstance(required, bool):  # of older drafts, where it is a property's
        schema.pop("required", None)
        return schema
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise SchemaError(within(at, "required"), "should be a list of names")
    for name in required:
        if any(value.schema is False for value in property_of(part.to(schema), name)):
            raise SchemaError(
                within(at, "required"),
                f"no output is possible: {name!r:.80} is required and not allowed; add it to "
                "properties",
            )
    return schema


def plain_dependents(schema: Schema, at: str) -> Schema:
    """What some properties require of others, by cases: without them, or with all."""
    rules: dict[str, Any] = {}
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        given = schema.pop(keyword, {})
        if not isinstance(given, Mapping):
            raise SchemaError(within(at, keyword), "should be an object")
        for name, rule in given.items():
            wanted = {"required": rule} if isinstance(rule, list) else rule
            if wanted != {"required": []} and not says_nothing(wanted):
                rules.setdefault(name, []).append(wanted)
    if not rules:
        return schema
    required = schema.get("required", [])
    cases = []
    for name, wanted in rules.items():
        if name in required:
            cases += wanted
        else:
            with_it = wanted[0] if len(wanted) == 1 else {"allOf": wanted}
            without: Schema = {"type": "object", "properties": {name: False}}
            cases.append({"anyOf": [without, with_it]})
    if len(rules) > MAX_OPTIONS or 2 ** sum(name not in required for name in rules) > MAX_OPTIONS:
        raise SchemaError(at, "dependentRequired has too many properties; use fewer")
    return {**schema, "allOf": [*schema.get("allOf", ()), *cases]}


def plain_property_counts(schema: Schema, at: str) -> Schema:
    """How many properties there are at least and at most, by which of them there are."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    optional = [name for name in properties if name not in required]
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    is_shut = schema.get("additionalProperties") is False and not schema.get("patternProperties")
    if least <= len(set(required)):
        schema.pop("minProperties", None)
        least = 0
    if most is not None and is_shut and most >= len(properties):
        schema.pop("maxProperties")
        most = None
    if not optional or (not least and most is None):
        return schema
    if is_shut and (least or 1) == 1 and (most or 1) == 1 and not required:
        return schema  # the compiler has its own way
    if most is not None and schema.get("patternProperties"):
        raise SchemaError(
            within(at, "maxProperties"),
            "cannot be kept to beside properties and patternProperties; leave it out",
        )
    schema.pop("minProperties", None)
    schema.pop("maxProperties", None)
    fixed = len(set(required))
    if most is None and not is_shut and least - fixed > len(optional):
        return {**schema, "required": [*required, *optional], "minProperties": least}
    if most is not None and max(least, fixed) > most:
        raise SchemaError(within(at, "maxProperties"), "no output is possible: it is too low")
    chosen = _choices(optional, max(0, least - fixed), most and max(0, most - fixed), at)
    if most is not None:
        schema["additionalProperties"] = False
    return {**schema, "allOf": [*schema.get("allOf", ()), {"anyOf": chosen}]}


def _choices(optional: list[str], least: int, most: int | None, at: str) -> list[Schema]:
    """Which optional properties there may be, one way after the other."""
    size = least if most is None else most
    if size > len(optional):
        raise SchemaError(
            within(at, "minProperties"), "is over the number of properties; name more of them"
        )
    few = math.comb(min(len(optional), 99), size) <= MAX_OPTIONS and len(optional) < 99
    ways = list(combinations(optional, size)) if few else [tuple(optional[:size])]
    if most is None:
        return [{"type": "object", "required": list(some)} for some in ways]
    found = []
    for some in ways:
        absent = {name: False for name in optional if name not in some}
        found.append({"type": "object", "properties": absent, "required": list(some)[:least]})
    return found
