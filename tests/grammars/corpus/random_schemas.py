"""Random schemas of all keywords, such as nobody writes."""

import random
from typing import Any

_NAMES = ("a", "b", "c", "k1")
_LEAVES: tuple[Any, ...] = (
    {"type": "integer"}, {"type": "number", "minimum": 0, "maximum": 9}, {"type": "null"},
    {"type": "boolean"}, {"type": "string", "maxLength": 3}, {"enum": ["x", "y", 1]},
    {"const": "x"}, {"const": 1}, {"type": "integer", "minimum": 3, "exclusiveMaximum": 7},
    {"type": ["string", "null"], "maxLength": 2}, {"type": "string", "pattern": "^k[0-9]$"},
    {"$ref": "#/$defs/D"}, {"$ref": "#/$defs/O"}, True, {"not": {}},
)  # fmt: skip


def random_schema(seed: int) -> dict[str, Any]:
    """One of them; with some luck, a value is of it."""
    rng = random.Random(seed)
    found = _schema(rng, 3)
    found = found if isinstance(found, dict) else {}
    return found | {"$defs": {"D": rng.choice(_LEAVES[:9]), "O": _object(rng, 1)}}


def _schema(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(_LEAVES)
    kind = rng.choice(("object", "object", "array", "options", "options", "limited"))
    if kind == "object":
        return _object(rng, depth)
    if kind == "array":
        return _array(rng, depth)
    if kind == "options":
        name = rng.choice(("anyOf", "oneOf", "oneOf", "allOf"))
        found = {name: [_schema(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
        return found | (_object(rng, 1) if rng.random() < 0.3 else {})
    base = _schema(rng, depth - 1)
    base = base if isinstance(base, dict) else {}
    limit = rng.choice(({"not": _schema(rng, 1)}, {"if": _schema(rng, 1), "then": _schema(rng, 1)}))
    return {**base, **limit}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_NAMES, rng.randint(0, 3))
    found: dict[str, Any] = {"type": "object"} if rng.random() < 0.8 else {}
    if names:
        found["properties"] = {name: _schema(rng, depth - 1) for name in names}
    some = _NAMES[:3]
    chances = (
        ("required", rng.sample(some, rng.randint(0, 2))),
        ("additionalProperties", rng.choice((True, False, {"type": "integer"}))),
        ("minProperties", rng.randint(0, 2)),
        ("maxProperties", rng.randint(1, 3)),
        ("propertyNames", rng.choice(({"enum": ["a", "b"]}, {"pattern": "^[a-k]"}, {}))),
        ("dependentRequired", {rng.choice(some): rng.sample(some, 1)}),
        ("dependentSchemas", {rng.choice(some): {"required": rng.sample(some, 1)}}),
        ("patternProperties", {"^k": _schema(rng, 0)}),
        ("unevaluatedProperties", rng.choice((True, False))),
    )
    found |= {
        name: value for name, value in chances if rng.random() < 0.15 + 0.25 * (name == "required")
    }
    if found.get("additionalProperties") is not False or "patternProperties" in found:
        found |= {"minProperties": 1} if found.get("minProperties") == 2 else {}
    return found  # names that are left open may come twice


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "array", "maxItems": rng.randint(1, 3)}
    chances = (
        ("items", _schema(rng, depth - 1)),
        ("minItems", rng.randint(0, 2)),
        ("prefixItems", [_schema(rng, depth - 1)]),
        ("contains", _schema(rng, 0)),
        ("uniqueItems", rng.choice((True, False))),
        ("unevaluatedItems", rng.choice((True, False))),
    )
    return found | {
        name: value for name, value in chances if rng.random() < 0.15 + 0.5 * (name == "items")
    }
