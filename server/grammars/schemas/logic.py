"""Rules for oneOf, not and if: as the options and limits that they come to."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from server.grammars.errors import SchemaError, within
from server.grammars.schemas.closing import Closing
from server.grammars.schemas.disjoint import (
    TYPES,
    Comparison,
    key_of,
    types_of,
    values_of,
    values_of_property,
)
from server.grammars.schemas.document import Document, Part, says_nothing

Schema = dict[str, Any]

_MAX_NAMES = 32
"""Of properties that could tell options apart, so many are looked at."""


class Options:
    """Makes anyOf of oneOf, where no value can be of two options."""

    def __init__(
        self, opened: Document, shut: Document, closing: Closing, comparison: Comparison
    ) -> None:
        self._opened = opened
        self._shut = shut
        self._closing = closing
        self._comparison = comparison

    def plain(self, schema: Schema, at: str) -> Schema:
        """The same values, or fewer. Raises SchemaError."""
        options = schema.pop("oneOf", None)
        if options is None:
            return schema
        if not isinstance(options, list) or not options:
            raise SchemaError(within(at, "oneOf"), "should be a list of at least one schema")
        before = [self._closing.opened(option) for option in options]
        if self._all_apart(before):
            return _with_options(schema, options)
        types = types_of(Part(schema, self._opened))
        apart = [self._apart(number, options, before, types, at) for number in range(len(options))]
        return _with_options(schema, apart)

    def excludes(self, schema: Any, other: Any) -> bool:
        """Whether certainly no value is of both."""
        return self._comparison.disjoint(Part(schema, self._opened), Part(other, self._opened))

    def _all_apart(self, options: list[Any]) -> bool:
        """Whether each option has values, or a required property with values, of its own."""
        described = [Part(option, self._opened) for option in options]
        names = _required(described[0])
        readers: list[Callable[[Part], list[Any] | None]] = [values_of]
        readers += [partial(values_of_property, name=name) for name in sorted(names)]
        for read in readers[:_MAX_NAMES]:
            keys: list[str] = []
            for option in described:
                values = read(option)
                if values is None:
                    break
                keys += {key_of(value) for value in values}
            else:
                if len(set(keys)) == len(keys):
                    return True
        return False

    def _apart(
        self, number: int, options: list[Any], before: list[Any], types: set[str], at: str
    ) -> Any:
        """An option without values of the others; all are of these types."""
        option, absent = options[number], set()
        for other, opened in enumerate(before):
            if other == number or self._is_apart(before[number], option, opened):
                continue
            name = self._missing(before[number], opened, types)
            if name is None:
                first, second = sorted((number, other))
                raise SchemaError(
                    within(at, "oneOf"),
                    f"a value could be of both options {first} and {second}; use anyOf, or give "
                    "each a required property with a const of its own",
                )
            absent.add(name)
        if not absent:
            return option
        limits = {"type": "object", "properties": dict.fromkeys(sorted(absent), False)}
        return {"allOf": [option, limits]}

    def _is_apart(self, opened: Any, option: Any, other: Any) -> bool:
        if self.excludes(opened, other):
            return True
        ours, theirs = Part(option, self._shut), Part(other, self._opened)
        return self._comparison.disjoint(ours, theirs)

    def _missing(self, option: Any, other: Any, types: set[str]) -> str | None:
        """A name that another option requires and this one can do without."""
        ours, theirs = Part(option, self._opened), Part(other, self._opened)
        if types & types_of(theirs) & types_of(ours) - {"object"}:
            return None
        required = _required(ours)
        return next((name for name in sorted(_required(theirs)) if name not in required), None)


def without_not(schema: Schema, at: str, options: Options, part: Part) -> Schema | bool:
    """The same without what it must not be. Raises SchemaError where that cannot be said."""
    wrong = schema.pop("not", False)
    if wrong is False:
        return schema
    if says_nothing(wrong):
        return False
    if not isinstance(wrong, Mapping):
        raise SchemaError(within(at, "not"), "should be a schema")
    if options.excludes(schema, wrong):
        return schema
    asserted = wrong.keys() - {"type"} if wrong.get("type") == "object" else wrong.keys()
    if asserted == {"anyOf"} and isinstance(wrong["anyOf"], list):
        found: Schema | bool = schema
        for each in wrong["anyOf"]:
            if isinstance(found, dict):
                found = without_not({**found, "not": each}, at, options, part)
        return found
    if asserted == {"required"} and isinstance(wrong["required"], list):
        absent = [{"type": "object", "properties": {name: False}} for name in wrong["required"]]
        return {**schema, "allOf": [*schema.get("allOf", ()), {"anyOf": absent}]}
    if asserted == {"type"}:
        return _without_types(schema, wrong, at)
    return _without_values(schema, wrong, at, part)


def without_if(schema: Schema, at: str, options: Options) -> Schema:
    """The cases of if, then and else, if what is not of `if` can be said."""
    condition = schema.pop("if", None)
    then, other = schema.pop("then", True), schema.pop("else", True)
    if condition is None or (says_nothing(then) and says_nothing(other)):
        return schema
    if options.excludes(schema, condition):
        return {**schema, "allOf": [*schema.get("allOf", ()), other]}
    unmet = _unmet(schema, condition, at)
    cases = [{"allOf": [condition, then]}, *({"allOf": [case, other]} for case in unmet)]
    return {**schema, "allOf": [*schema.get("allOf", ()), {"anyOf": cases}]}


def _unmet(schema: Schema, condition: Any, at: str) -> list[Schema]:
    """Schemas of objects that do not meet a condition on properties of known values."""
    properties = condition.get("properties", {}) if isinstance(condition, Mapping) else {}
    required = condition.get("required", []) if isinstance(condition, Mapping) else []
    given = schema.get("properties", {})
    cases: list[Schema] = [{"type": "object", "properties": {name: False}} for name in required]
    simple = bool(properties) and condition.keys() <= {"properties", "required", "type"}
    for name, wanted in properties.items() if simple else ():
        values = values_of(Part(given.get(name), Document({})))
        met = values_of(Part(wanted, Document({})))
        if values is None or met is None:
            simple = False
            break
        keys = set(map(key_of, met))
        rest = [value for value in values if key_of(value) not in keys]
        if rest:
            case = {"type": "object", "properties": {name: {"enum": rest}}, "required": [name]}
            cases.append(case)
    if not simple:
        raise SchemaError(
            within(at, "if"),
            "can be kept to for properties whose values are an enum only; use anyOf with a const "
            "in each option",
        )
    return cases


def _without_types(schema: Schema, wrong: Mapping[str, Any], at: str) -> Schema | bool:
    given, banned = schema.get("type", list(TYPES)), wrong["type"]
    names = set(given if isinstance(given, list) else [given])
    if "type" not in schema:
        names -= {"integer"}  # which number has
    banned = set(banned if isinstance(banned, list) else [banned])
    if "integer" in banned and "number" in names and "number" not in banned:
        raise SchemaError(within(at, "not"), "numbers that are no integers cannot be kept to")
    names -= banned | ({"integer"} if "number" in banned else set())
    if not names:
        return False
    return {**schema, "type": [name for name in TYPES if name in names]}


def _without_values(schema: Schema, wrong: Mapping[str, Any], at: str, part: Part) -> Schema | bool:
    values, banned = values_of(part.to(schema)), values_of(part.to(wrong))
    if values is None or banned is None or wrong.keys() - {"const", "enum", "type"}:
        raise SchemaError(
            within(at, "not"),
            "cannot be kept to here; say what the value may be instead, such as with an enum",
        )
    keys = set(map(key_of, banned))
    rest = [value for value in values if key_of(value) not in keys]
    if not rest:
        return False
    return {**schema, "enum": rest} if "const" not in schema else schema


def _with_options(schema: Schema, options: list[Any]) -> Schema:
    if "anyOf" in schema:
        return {**schema, "allOf": [*schema.get("allOf", ()), {"anyOf": options}]}
    return {**schema, "anyOf": options}


def _required(part: Part) -> set[str]:
    """The names of properties that a schema requires, itself or by what it refers to."""
    schema = part.schema
    found: set[str] = set()
    if not isinstance(schema, Mapping):
        return found
    found |= {name for name in _names(schema.get("required")) if isinstance(name, str)}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        try:
            target = part.document.resolve(reference)
        except KeyError:
            return found
        if isinstance(target, Mapping):
            found |= set(_names(target.get("required")))
    return found


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
