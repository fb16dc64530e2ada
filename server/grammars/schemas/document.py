"""A schema as a whole, and what references within it point to."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

_INDEX = re.compile("[0-9]{1,9}")


IN_PLACE = frozenset(("$ref", "allOf", "anyOf", "oneOf", "$dynamicRef", "$recursiveRef"))
"""Keywords that bring in other schemas for the same value."""
ASSERTIONS = IN_PLACE | {
    *("type", "const", "enum", "not", "if", "then", "else", "format", "pattern", "minLength"),
    *("maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("items", "additionalItems", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    *("contains", "minContains", "maxContains", "unevaluatedItems", "properties", "required"),
    *("additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    *("propertyNames", "dependencies", "dependentRequired", "dependentSchemas"),
    "unevaluatedProperties",
}
"""Keywords that may constrain a value. All others are annotations."""


def says_nothing(schema: Any) -> bool:
    """Whether every value is of a schema, as far as its keywords tell."""
    return schema is True or (isinstance(schema, Mapping) and not schema.keys() & ASSERTIONS)


class Document:
    """Finds parts of a schema by the references of others."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._named: dict[str, Any] | None = None
        self._found: dict[str, Any] = {}

    def resolve(self, reference: str) -> Any:
        """What a reference points to. Raises KeyError if that is nothing within the schema."""
        if reference not in self._found:
            self._found[reference] = self._find(reference)
        return self._found[reference]

    def _find(self, reference: str) -> Any:
        if reference in ("", "#"):
            return self.root
        if reference.startswith("#/"):
            return _pointed(self.root, reference[2:])
        names = self._names()
        if reference in names:
            return names[reference]
        document, _, pointer = urljoin(self._base, reference).partition("#")
        if document == self._base or document in names:
            resource = self.root if document == self._base else names[document]
            if not pointer:
                return resource
            if pointer.startswith("/"):
                return _pointed(resource, pointer[1:])
        return names[f"#{pointer}"]

    @property
    def _base(self) -> str:
        base = self.root.get("$id")
        return base.partition("#")[0] if isinstance(base, str) else ""

    def _names(self) -> dict[str, Any]:
        if self._named is None:
            self._named = {}
            for part in parts(self.root):
                for key in ("$id", "id", "$anchor", "$dynamicAnchor"):
                    name = part.get(key)
                    if isinstance(name, str):
                        name = name if key.endswith("id") else f"#{name}"
                        self._named.setdefault(name, part)
                        self._named.setdefault(urljoin(self._base, name), part)
        return self._named


class Part(NamedTuple):
    """A schema, and what its references are within."""

    schema: Any
    document: Document

    def to(self, schema: Any) -> "Part":
        """Another schema of the same document."""
        return Part(schema, self.document)


def parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """All objects of a schema, whatever they are there."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer points to, also where a name was not escaped as it should be."""
    for step in pointer.split("/"):
        value = _step(value, step)
    return value


def _step(value: Any, step: str) -> Any:
    for name in (unquote(step), step):
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            return value[name]
        if isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            return value[int(name)]
    raise KeyError(step)
