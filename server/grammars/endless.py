"""Schemas that refer to themselves and never stop: no JSON is of them, however long.

The compiler takes them, since there is always a next token: only a limit would end the output.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any
from urllib.parse import unquote

from server.grammars.errors import GrammarError

_JSON_IN_LARK = re.compile(r"%json\s*(?=\{)")
_DECODER = json.JSONDecoder()
_INDEX = re.compile("[0-9]{1,9}")
_WHY = "no output is possible: what it requires refers to itself without end"


def check_ends(grammar: str) -> None:
    """Raise GrammarError if a grammar has a JSON schema without finite values."""
    try:
        if not all(map(_has_end, _schemas(grammar))):
            raise GrammarError(_WHY)
    except RecursionError:
        raise GrammarError("nested too deeply") from None


def _schemas(grammar: str) -> list[Any]:
    """Of a grammar in any form; of what is none the compiler knows why."""
    if not grammar.lstrip().startswith("{"):
        return list(_within_lark(grammar))
    try:
        found = []
        for part in json.loads(grammar)["grammars"]:
            found.append(part.get("json_schema"))
            found += _within_lark(part.get("lark_grammar", ""))
        return found
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


def _within_lark(grammar: str) -> Iterator[Any]:
    for found in _JSON_IN_LARK.finditer(grammar):
        with contextlib.suppress(ValueError):
            yield _DECODER.raw_decode(grammar, found.end())[0]


def _has_end(schema: Any) -> bool:
    """Whether some value of a schema is finite, as far as its references within itself say."""
    targets = {ref: _target(schema, ref) for ref in set(_references(schema))}
    endless = {ref for ref, target in targets.items() if target is not None}
    while ended := {ref for ref in endless if _ends(targets[ref], endless)}:
        endless -= ended
    return _ends(schema, endless)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _references(each)


def _target(schema: Any, ref: str) -> Any:
    """What a JSON pointer points to; None if it is something else, or points nowhere."""
    start, *steps = unquote(ref).split("/")
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and _INDEX.fullmatch(name) and int(name) < len(schema):
            schema = schema[int(name)]
        else:
            schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if start == "#" else None


def _ends(schema: Any, endless: Set[str]) -> bool:
    """Whether a value can be finite if what these references mean cannot be."""
    if not isinstance(schema, Mapping) or "enum" in schema or "const" in schema:
        return True
    if isinstance(ref := schema.get("$ref"), str) and ref in endless:
        return False
    for name in ("anyOf", "oneOf"):
        options = _list(schema, name)
        if options and not any(_ends(option, endless) for option in options):
            return False
    needed = [*_list(schema, "allOf"), *_required(schema)]
    return all(_ends(each, endless) for each in needed)


def _required(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of values that each value of this one has within itself."""
    properties, least = schema.get("properties"), schema.get("minItems")
    if schema.get("type") == "object" and isinstance(properties, Mapping):
        yield from (
            properties.get(name) for name in _list(schema, "required") if name in properties
        )
    if schema.get("type") == "array" and isinstance(least, int):
        first = _list(schema, "prefixItems")[: max(least, 0)]
        yield from first
        if least > len(first):
            yield schema.get("items")


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []
