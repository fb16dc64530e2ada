"""JSON schemas as grammars can keep to them.

Libraries write schemas with much that the compiler of grammars does not take: keywords that
constrain nothing, or that others can say. Here all of it is said in those that it takes. Every
value of the schema that comes out is one of the schema that went in; where a grammar cannot tell
all of those values, there are fewer. What cannot be kept to is refused by its path.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from server.grammars.errors import MAX_BYTES, GrammarError, SchemaError, within
from server.grammars.schemas.closing import Closing
from server.grammars.schemas.containers import (
    plain_dependents,
    plain_items,
    plain_names,
    plain_property_counts,
    plain_required,
)
from server.grammars.schemas.disjoint import MAX_CONJUNCTS, Comparison, conjuncts
from server.grammars.schemas.document import (
    ASSERTIONS,
    IN_PLACE,
    Document,
    Part,
    parts,
    says_nothing,
)
from server.grammars.schemas.logic import Options, without_if, without_not
from server.grammars.schemas.values import (
    checked_types,
    plain_counts,
    plain_numbers,
    plain_strings,
    plain_values,
)

Schema = dict[str, Any]

_DRAFTS = re.compile(
    r"https://json-schema\.org/draft/20(19-09|20-12)/schema#?"
    r"|http://json-schema\.org/draft-0[467]/schema#?"
)
_SIMPLE_REFERENCE = re.compile(r"#|#/(?:\$defs|definitions)/[A-Za-z0-9_.-]+")
_IDENTIFIERS = frozenset(
    ("$schema", "$id", "$anchor", "$defs", "definitions", "title", "description", "default")
)
_DEFINITIONS = ("$defs", "definitions")
_BY_NAME = ("properties", "patternProperties")
_NAMED, _LIST, _SCHEMA = (
    (Mapping, "an object of schemas"),
    (list, "a list of schemas"),
    (Mapping | bool, "a schema"),
)
_SHAPES: dict[str, tuple[Any, str]] = {
    **dict.fromkeys((*_BY_NAME, *_DEFINITIONS), _NAMED),
    **dict.fromkeys(("anyOf", "allOf", "oneOf", "prefixItems"), _LIST),
    **dict.fromkeys(("additionalProperties", "propertyNames", "unevaluatedProperties"), _SCHEMA),
    **dict.fromkeys(("contains", "not", "if", "then", "else", "unevaluatedItems"), _SCHEMA),
    "items": (Mapping | bool | list, "a schema"),
}
_LISTS = ("anyOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "additionalItems")


def held_schema(schema: Mapping[str, Any], comparison: Comparison | None = None) -> Schema:
    """The schema as the compiler takes it. Raises GrammarError.

    Several schemas of one request share a comparison, so that their time is bounded together.
    """
    try:
        if len(json.dumps(schema)) > MAX_BYTES:
            raise GrammarError(f"longer than {MAX_BYTES} bytes")
        return _Holding(schema, comparison or Comparison()).held()
    except RecursionError:
        raise GrammarError("nested too deeply") from None


class _Holding:
    """One schema on its way."""

    def __init__(self, schema: Mapping[str, Any], comparison: Comparison) -> None:
        flat = _flat(schema)
        closing = Closing(flat)
        self._document = Document(closing.schema)
        self._options = Options(Document(flat), self._document, closing, comparison)
        self._is_simple = _is_simple(closing.schema)
        self._waiting: list[tuple[str, Any]] = []
        """Definitions that are referred to, by their references."""
        self._names: dict[str, str] = {}

    def held(self) -> Schema:
        """All of it."""
        root = self._document.root
        found: Any = self._schema(root, "")
        if isinstance(found, bool):
            if not found:
                raise GrammarError("no output is possible: the schema allows none")
            return {}
        definitions: dict[str, Schema] = {key: {} for key in _DEFINITIONS}
        while self._waiting:
            reference, target = self._waiting.pop()
            key, name = self._names[reference].removeprefix("#/").split("/")
            at = reference.removeprefix("#/").replace("/", ".")
            definitions[key][name] = self._schema(target, at)
        for key in _DEFINITIONS:
            kept = found.get(key) if self._is_simple else None
            if definitions[key]:
                found[key] = {**(kept or {}), **definitions[key]}
            elif not self._is_simple:
                found.pop(key, None)
        return dict(found)

    def _schema(self, schema: Any, at: str) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise SchemaError(at, f"should be a schema: an object or boolean (got {schema!r:.40})")
        _check_shapes(schema, at)
        part = Part(schema, self._document)
        found = self._plain_values(dict(schema), at)
        found = plain_required(found, at, part)
        found = plain_names(_evaluated(found, at, self._document), at, part)
        found = plain_dependents(plain_items(found, at, part), at)
        found = plain_property_counts(found, at)
        found = self._options.plain(without_if(found, at, self._options), at)
        plain = without_not(found, at, self._options, part)
        return plain if isinstance(plain, bool) else self._with_parts(plain, at)

    def _plain_values(self, schema: Schema, at: str) -> Schema:
        if not _DRAFTS.fullmatch(str(schema.get("$schema", ""))):
            schema.pop("$schema", None)
        if not self._is_simple:
            for key in ("$id", "id", "$anchor"):
                if isinstance(schema.get(key), str):
                    del schema[key]
        if IN_PLACE & schema.keys():
            # The compiler would take a $ref beside an annotation that it does not know for more
            # than a $ref.
            kept = ASSERTIONS | _IDENTIFIERS
            schema = {name: value for name, value in schema.items() if name in kept}
        for rule in (checked_types, plain_counts, plain_strings, plain_numbers, plain_values):
            schema = rule(schema, at)
        return schema

    def _with_parts(self, schema: Schema, at: str) -> Schema:
        """With all schemas that it has within it held, too."""
        for key in ("$dynamicRef", "$recursiveRef"):
            if key in schema:
                schema["$ref"] = schema.pop(key)
        if "$ref" in schema:
            schema["$ref"] = self._reference(schema["$ref"], at)
        for key in _BY_NAME:
            if key in schema:
                schema[key] = {
                    name: self._schema(each, within(within(at, key), name))
                    for name, each in schema[key].items()
                }
        for key in _LISTS:
            if key in schema:
                schema[key] = self._all(schema[key], within(at, key))
        for key in _ONE:
            if key in schema:
                inner = schema[key]
                at_key = within(at, key)
                is_list = key == "items" and isinstance(inner, list)
                schema[key] = self._all(inner, at_key) if is_list else self._schema(inner, at_key)
        return schema

    def _all(self, schemas: list[Any], at: str) -> list[Any]:
        return [self._schema(each, within(at, number)) for number, each in enumerate(schemas)]

    def _reference(self, reference: Any, at: str) -> str:
        if not isinstance(reference, str):
            raise SchemaError(within(at, "$ref"), "should be a string")
        try:
            target = self._document.resolve(reference)
        except KeyError:
            raise SchemaError(
                within(at, "$ref"),
                f"points to nothing within the schema (got {reference!r:.80}); put what it means "
                "into $defs",
            ) from None
        if target is self._document.root:
            return "#"
        if reference not in self._names:
            number = len(self._names)
            self._names[reference] = reference if self._is_simple else f"#/$defs/d{number}"
            self._waiting.append((reference, target))
        return self._names[reference]


def _flat(schema: Any) -> Any:
    """Without an allOf of one schema alone, as some libraries write a $ref with a description."""
    if isinstance(schema, list):
        return [_flat(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {
        name: value if name in ("enum", "const", "default", "examples") else _flat(value)
        for name, value in schema.items()
    }
    only = found.get("allOf")
    if isinstance(only, list) and len(only) == 1 and isinstance(only[0], Mapping):
        rest = {name: value for name, value in found.items() if name != "allOf"}
        if says_nothing(rest) or (not rest.keys() & only[0].keys() and "$ref" not in only[0]):
            return {**only[0], **rest}
    return found


def _is_simple(schema: Mapping[str, Any]) -> bool:
    """Whether the compiler finds what all references point to, when the schema is held."""
    for number, part in enumerate(parts(schema)):
        reference = part.get("$ref")
        if isinstance(reference, str) and not _SIMPLE_REFERENCE.fullmatch(reference):
            return False
        names = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef")
        if number and isinstance(part.get("$id"), str):
            return False
        if any(isinstance(part.get(name), str) for name in names):
            return False
    return True


def _evaluated(schema: Schema, at: str, document: Document) -> Schema:
    """With additionalProperties instead of unevaluatedProperties."""
    rest = schema.pop("unevaluatedProperties", True)
    if says_nothing(rest):
        return schema
    if not {"allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"} & schema.keys():
        schema.setdefault("additionalProperties", rest)
        return schema
    options = schema.keys() & {"anyOf", "oneOf", "if", "dependentSchemas"}
    names = None if options else _evaluated_names(Part(schema, document))
    if rest is not False or names is None:
        raise SchemaError(
            within(at, "unevaluatedProperties"),
            "can be kept to as false, with allOf and $ref of schemas that name their properties; "
            "use additionalProperties in each option instead",
        )
    shut = {"type": "object", "properties": dict.fromkeys(names, True)}
    limits = {**shut, "additionalProperties": False}
    return {**schema, "allOf": [*schema.get("allOf", ()), limits]}


def _evaluated_names(part: Part) -> list[str] | None:
    """The names of properties of a schema and of those put together in it; None: unknown."""
    names: dict[str, None] = {}
    for number, each in enumerate(conjuncts(part)):
        schema = each.schema
        if number >= MAX_CONJUNCTS - 1 or not isinstance(schema, Mapping):
            return None
        if schema.keys() & {"anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"}:
            return None
        if schema.get("additionalProperties", False) is not False:
            return None
        names |= dict.fromkeys(schema.get("properties", {}))
    return list(names)


def _check_shapes(schema: Mapping[str, Any], at: str) -> None:
    """Raise SchemaError for keywords that are not at all as they should be."""
    for key, (kind, what) in _SHAPES.items():
        if key in schema and not isinstance(schema[key], kind):
            raise SchemaError(within(at, key), f"should be {what}")
