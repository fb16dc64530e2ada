"""Properties that a schema does not name are left out, where it leaves them open by silence."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.grammars.errors import GrammarError
from server.grammars.schemas.closing import closed

OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}}
SHUT = OPEN | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (OPEN, SHUT),
        (OPEN | {"additionalProperties": True}, OPEN | {"additionalProperties": True}),
        (OPEN | {"patternProperties": {"b": OPEN}}, OPEN | {"patternProperties": {"b": SHUT}}),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "array", "items": OPEN}, {"type": "array", "items": SHUT}),
        ({"anyOf": [OPEN, {"type": "null"}]}, {"anyOf": [SHUT, {"type": "null"}]}),
        ({"$ref": "#/$defs/x", "$defs": {"x": OPEN}}, {"$ref": "#/$defs/x", "$defs": {"x": SHUT}}),
        ({"additionalProperties": OPEN}, {"additionalProperties": SHUT}),
        (OPEN | {"anyOf": [{"required": ["b"]}]}, OPEN | {"anyOf": [{"required": ["b"]}]}),
        ({"allOf": [OPEN, OPEN]}, {"allOf": [OPEN, OPEN]}),
        ({"items": {"allOf": [OPEN]}, "not": OPEN}, {"items": {"allOf": [OPEN]}, "not": OPEN}),
        ({"enum": [OPEN], "const": OPEN}, {"enum": [OPEN], "const": OPEN}),
        ({"items": [], "anyOf": 3}, {"items": [], "anyOf": 3}),
    ],
)
def test_what_is_shut(schema, expected):
    assert closed(schema) == expected


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "integer"}, {"type": "null"}, {}]),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b: {"type": "object", "properties": {"a": a, "b": b}, "required": ["a"]},
            *(inner, inner),
        ),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from([None, 1, "x"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(schema=SCHEMAS, value=VALUES)
def test_what_fits_the_closed_schema_fits_the_schema(schema, value):
    if jsonschema.Draft202012Validator(closed(schema)).is_valid(value):
        assert jsonschema.Draft202012Validator(schema).is_valid(value)


def test_a_schema_that_is_nested_too_deeply_is_refused():
    schema = {}
    for _ in range(10_000):
        schema = {"items": schema}
    with pytest.raises(GrammarError, match="nested too deeply"):
        closed(schema)
