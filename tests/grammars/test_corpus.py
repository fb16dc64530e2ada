"""What libraries write as schemas every day: its grammars compile, and their outputs are of it.

All schemas, with more outputs of each: `python -m tests.grammars.test_corpus 5`.
"""

import json
import re
import sys
from collections import Counter

import pytest

from tests.grammars.corpus import corpus
from tests.grammars.corpus.random_schemas import random_schema
from tests.grammars.corpus.trial import tried, validator_of

REFUSED = {
    "no value is right": "^no output is possible",
    "sets": r"(^|\.)uniqueItems: that items differ cannot be kept to",
    "integers beyond doubles": r"(^|\.)const: cannot be kept to exactly over 2\^53",
}
"""All that is refused, of whatever is satisfiable the last two."""
SHARDS = 6
THEIR_WORDS = ("Unimplemented", "coerce_one_of", "llguidance", "json-schema:///", "derivre")


@pytest.fixture(scope="module")
def schemas():
    """Each once, with its number."""
    found = {json.dumps(schema): (name, schema) for name, schema in corpus()}
    assert len(found) >= 4500
    return list(enumerate(found.values()))


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_outputs_are_of_the_schema(schemas, shard):
    refused = Counter()
    # Half of them, which takes half a minute in all.
    for number, (name, schema) in schemas[shard :: SHARDS * 2]:
        why = trial(number, schema, 1)
        if why:
            refused[kind_of(why), name] += 1
    assert sum(refused.values()) <= 40


@pytest.mark.slow
def test_outputs_of_random_schemas_are_of_them():
    """Of many with not, if, oneOf, dependents, counts and so on; half of them are refused."""
    held = sum(not trial(seed, random_schema(seed), 2) for seed in range(1500))
    assert held > 700


def trial(number, schema, count):
    """Why a schema is refused; empty: it is not, and its outputs are right."""
    why, texts = tried(schema, count, number)
    if not why:
        validator = validator_of(schema)
        for text in texts:
            errors = list(validator.iter_errors(json.loads(text)))
            assert not errors, (schema, text, errors[0].message)
    return why


def kind_of(why):
    """One of REFUSED."""
    assert not any(word in why for word in THEIR_WORDS), why
    return next(kind for kind, pattern in REFUSED.items() if re.search(pattern, why))


def main():
    """All of them; tells how many of each generator were refused, and of what kind."""
    found = {json.dumps(schema): (name, schema) for name, schema in corpus()}
    refused, outputs = Counter(), int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for number, (name, schema) in enumerate(found.values()):
        if why := trial(number, schema, outputs):
            refused[kind_of(why), name] += 1
    print(f"{len(found)} schemas, {outputs} outputs of each: none invalid; refused:")
    for (kind, name), count in sorted(refused.items()):
        print(f"  {count} {name}: {kind}")


if __name__ == "__main__":
    main()
