"""Schemas of pydantic as the libraries between it and the server send them on."""

import copy
import json
from collections.abc import Iterator
from typing import Any


def translated(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """In the forms of several libraries, each by its name."""
    yield "openai strict", _strict(copy.deepcopy(schema))
    yield "openapi 3.1", _openapi(schema)
    yield "openapi 3.0", _openapi(_nullable(copy.deepcopy(schema)))
    yield "langchain", _without_titles(copy.deepcopy(schema))
    yield "instructor", schema | {"required": sorted(schema.get("required", []))}
    yield "names of generics", _with_odd_names(schema)


def _with_odd_names(schema: dict[str, Any]) -> dict[str, Any]:
    """With names of definitions as other languages have them: `Box<a/b, é>`."""
    text = json.dumps(schema)
    for name in schema.get("$defs", {}):
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{name}<a~1b, é>"')
    renamed: dict[str, Any] = json.loads(text)
    if "$defs" in renamed:
        renamed["$defs"] = {f"{name}<a/b, é>": each for name, each in renamed["$defs"].items()}
    return renamed


def _strict(schema: Any) -> Any:
    """As openai's SDK makes them strict: all is required, and no default is left."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(value) for name, value in schema.items() if name != "default"}
    if found.get("type") == "object" and "properties" in found:
        found |= {"additionalProperties": False, "required": list(found["properties"])}
    return found


def _openapi(schema: dict[str, Any]) -> dict[str, Any]:
    """A component of an OpenAPI description, with the others beside it."""
    moved = json.loads(json.dumps(schema).replace("#/$defs/", "#/components/schemas/"))
    schemas = moved.pop("$defs", {})
    return {
        "$ref": "#/components/schemas/Root",
        "components": {"schemas": schemas | {"Root": moved}},
    }


def _nullable(schema: Any) -> Any:
    """With `nullable`, and a $ref beside a description within allOf."""
    if isinstance(schema, list):
        return [_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _nullable(value) for name, value in schema.items()}
    options = found.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        del found["anyOf"]
        if len(rest) == 1:
            found |= {"nullable": True} | ({"allOf": rest} if "$ref" in rest[0] else rest[0])
        else:
            found |= {"nullable": True, "oneOf" if len(rest) == 0 else "anyOf": rest or [{}]}
    return found


def _without_titles(schema: Any) -> Any:
    """As LangChain has the parameters of tools."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {n: v for n, v in schema.items() if n != "title" or not isinstance(v, str)}
    return {name: _without_titles(value) for name, value in kept.items()}
