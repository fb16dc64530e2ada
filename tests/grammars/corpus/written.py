"""Forms of generators that are no Python, by their documentation, and of schemas by hand."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def written() -> Iterator[tuple[str, Schema]]:
    """Each form alone, as a property, and as an item."""
    for name, forms in (("schemars", _schemars()), ("by hand", _by_hand())):
        for form in forms:
            definitions = form.get("$defs") or form.get("definitions")
            yield name, form
            if definitions or "#" in str(form):
                continue
            yield name, {"type": "object", "properties": {"value": form}, "required": ["value"]}
            yield name, {"type": "object", "properties": {"value": form, "n": INTEGER}}
            yield name, {"type": "array", "items": form, "maxItems": 2}
            yield name, {"$ref": "#/$defs/T", "$defs": {"T": {"anyOf": [form, {"type": "null"}]}}}


def _object(required: list[str] | None = None, **properties: Any) -> Schema:
    found = {"type": "object", "properties": properties}
    return found | ({"required": required} if required else {})


def _schemars() -> Iterator[Schema]:
    """Of Rust: integers of each size, enums with data, maps, sets, recursion (0.8 and 1.0)."""
    for bits in (8, 16, 32, 64):
        yield {"type": "integer", "format": f"uint{bits}", "minimum": 0.0}
        yield {"type": "integer", "format": f"int{bits}"}
        yield INTEGER | {"minimum": 0, "maximum": 2**bits - 1}
        yield INTEGER | {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
    yield {"type": "number", "format": "double"}
    yield {"type": ["number", "null"], "format": "float"}
    yield {"type": ["string", "null"], "default": None}
    yield {"type": "string", "maxLength": 1, "minLength": 1}
    yield {"type": "string", "format": "partial-date-time"}
    yield {"description": "Unit", "type": "null"}
    yield {"type": "array", "items": [STRING, INTEGER], "maxItems": 2, "minItems": 2}
    yield {"type": "array", "prefixItems": [STRING, INTEGER], "maxItems": 2, "minItems": 2}
    yield {"type": "object", "additionalProperties": {"type": "integer", "format": "uint8"}}
    yield {"type": "array", "items": {"type": "string", "enum": ["A", "B", "C"]},
           "uniqueItems": True}  # fmt: skip
    unit = [{"description": f"The {n}.", "type": "string", "enum": [n]} for n in ("A", "B")]
    yield {"oneOf": unit}
    yield {"oneOf": [{"description": "x", "type": "string", "const": n} for n in ("A", "B")]}
    newtype = _object(["Text"], Text=STRING) | {"additionalProperties": False}
    fields = _object(["Move"], Move=_object(["x"], x=INTEGER)) | {"additionalProperties": False}
    yield {"oneOf": [{"type": "string", "enum": ["Quit", "Stop"]}, newtype, fields]}
    yield {"oneOf": [
        _object(["type"], type={"type": "string", "enum": [kind]}, value=value)
        for kind, value in (("a", STRING), ("b", NUMBER))
    ]}  # fmt: skip
    yield {"anyOf": [STRING, INTEGER, _object(["x"], x=NUMBER)]}
    schema = "http://json-schema.org/draft-07/schema#"
    node = _object(["value"], value=STRING, next={"anyOf": [{"$ref": "#/definitions/Node"},
                                                          {"type": "null"}]})  # fmt: skip
    yield {"$schema": schema, "title": "Node", "definitions": {"Node": node}} | node
    level = {"oneOf": unit, "description": "l"}
    yield {"$schema": schema, "definitions": {"Level": level}} | _object(
        ["level"], level={"description": "d", "allOf": [{"$ref": "#/definitions/Level"}]}
    )
    both = {"oneOf": [{"$ref": "#/$defs/Circle<f64>"}, {"$ref": "#/$defs/Square<f64>"}]}
    yield both | {"$defs": {
        "Circle<f64>": _object(["kind", "r"], kind={"const": "circle"}, r=NUMBER),
        "Square<f64>": _object(["kind", "a"], kind={"const": "square"}, a=NUMBER),
    }}  # fmt: skip
    yield {
        "oneOf": [{"$ref": "#/$defs/S"}, {"type": "null"}],
        "$defs": {"S": _object(None, s=STRING)},
    }
    base = {"$defs": {"Base": _object(["id"], id=INTEGER)}, "unevaluatedProperties": False}
    yield base | {"allOf": [{"$ref": "#/$defs/Base"}, _object(["own"], own=STRING)]}


def _by_hand() -> Iterator[Schema]:
    """What people write, and what tools write that nobody documents."""
    ab = {"a": STRING, "b": INTEGER}
    yield {"properties": ab, "required": ["a"]}
    yield _object(["a", "missing"], a=STRING)
    yield _object(["a"], **ab) | {"dependentRequired": {"b": ["a"]}}
    yield _object(None, **ab) | {"dependentRequired": {"b": ["a"], "a": []}}
    yield _object(None, **ab) | {"dependentRequired": {}}
    yield _object(None, **ab) | {"dependencies": {"b": ["a"]}, "propertyNames": {}}
    yield _object(None, **ab, c=STRING) | {"dependentSchemas": {"a": {"required": ["c"]}}}
    yield _object(None, **ab) | {"minProperties": 1}
    yield _object(None, **ab, c=STRING) | {"minProperties": 2, "additionalProperties": False}
    yield _object(["a"], **ab, c=STRING) | {"maxProperties": 2}
    yield _object(None, **ab) | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    yield _object(None, **ab) | {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    yield {"oneOf": [_object(["m"], m=STRING), _object(["n"], n=STRING)]}
    yield {"type": "array", "items": STRING, "uniqueItems": False, "minItems": 0}
    yield {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True}
    yield {"type": "array", "items": STRING, "contains": {"const": "x"}, "maxItems": 3}
    yield {"type": "array", "items": STRING, "minItems": 1.0, "maxItems": 2.0}
    yield {"type": "array", "prefixItems": [STRING], "additionalItems": False, "maxItems": 2}
    yield {"type": "array", "prefixItems": [STRING], "unevaluatedItems": False}
    yield {"type": "string", "not": {"const": ""}, "enum": ["", "a"]}
    yield {"type": ["string", "null"], "not": {"type": "null"}}
    yield _object(["a"], **ab) | {"not": {"required": ["b"]}}
    yield {"not": {"type": ["object", "array"]}}
    yield _object(["kind"], kind={"enum": ["x", "y"]}, extra=STRING) | {
        "if": {"properties": {"kind": {"const": "x"}}, "required": ["kind"]},
        "then": {"required": ["extra"]}}  # fmt: skip
    for name in ("binary", "password", "path", "byte", "int32", "phone", "regex", "uri-reference"):
        yield {"type": "string", "format": name}
    for name in ("date-time", "date", "time", "duration", "email", "ipv4", "ipv6", "uuid", "uri"):
        yield {"type": "string", "format": name}
    yield NUMBER | {"minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38}
    yield NUMBER | {"minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308}
    yield NUMBER | {"exclusiveMinimum": 0, "maximum": 1e300}
    yield INTEGER | {"exclusiveMinimum": -(2**53) - 1, "exclusiveMaximum": 2**53 + 1}
    yield INTEGER | {"minimum": 2**53 + 1, "maximum": 2**62 + 3}
    yield INTEGER | {"minimum": 0.5, "maximum": 9.5}
    for step in (0.01, 0.1, 0.5, 0.001, 1, 2.5, 7, 1e-6):
        yield NUMBER | {"multipleOf": step, "minimum": 0, "maximum": 100}
    for pattern in ("^(?=.*[0-9])(?=.*[a-z])[a-z0-9]{4,8}$", "^https?:\\/\\/[a-z.]+$", "^[^\\s]+$",
                    "^(?:a|b)+$", "foo|bar", "^\\+?[0-9]{3,}$"):  # fmt: skip
        yield {"type": "string", "pattern": pattern}
    yield {"enum": [1, 1.5, "a", None, True, [1], {"k": [None]}]}
    yield {"const": {"deep": [1, {"x": "y"}]}}
    yield {"const": -(2**63)}
    yield {"type": "object", "patternProperties": {"^x-": STRING}, "additionalProperties": False}
    yield _object(["a"], **ab, c={"not": {}})
    yield {
        "type": "object",
        "propertyNames": {"enum": ["k1", "k2"]},
        "additionalProperties": INTEGER,
    }
    yield {"type": "object", "propertyNames": {"minLength": 1, "maxLength": 4}}
    yield {"type": "object", "additionalProperties": {"not": {}}, "properties": ab}
    of_v = {"$ref": "root.json#/$defs/V"}
    yield _object(["v"], v=of_v) | {"$id": "https://a.b/root.json", "$defs": {"V": INTEGER}}
    yield {
        "type": "object",
        "properties": {"v": {"$ref": "#v"}},
        "$defs": {"V": INTEGER | {"$anchor": "v"}},
    }
    yield _object(["a"], a=STRING, b={"$ref": "#/properties/a"})
