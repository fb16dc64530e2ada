"""Schemas as libraries write them, each with the name of its generator."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.grammars.corpus.pydantic_models import pydantic_schemas
from tests.grammars.corpus.translated import translated
from tests.grammars.corpus.written import written

ZOD = Path(__file__).parent / "zod.jsonl.gz"
"""Written by zod 4 (z.toJSONSchema, all targets) and zod-to-json-schema for zod 3 (all targets):
each of 45 to 80 kinds of values in each of 22 places, and objects of random fields."""


def corpus() -> Iterator[tuple[str, dict[str, Any]]]:
    """All of them, the same ones each time."""
    for schema in gzip.decompress(ZOD.read_bytes()).splitlines():
        yield "zod", json.loads(schema)
    models = list(pydantic_schemas())
    for schema in models:
        yield "pydantic", schema
    for number, schema in enumerate(models):
        if number % 3 == 0:
            yield from translated(schema)
    for name, schema in written():
        yield name, schema
