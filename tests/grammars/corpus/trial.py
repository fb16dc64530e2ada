"""One schema on trial: its grammar compiles, and what it lets through is of the schema."""

import json
import re
from decimal import Decimal, getcontext
from typing import Any

import jsonschema
import numpy as np
from llguidance.numpy import fill_next_token_bitmask

from server.grammars.compiling import (
    check_matcher,
    compile_grammar,
    make_vocabulary,
    validate_grammar,
)
from server.grammars.endless import check_ends
from server.grammars.errors import GrammarError
from server.grammars.forms import json_grammar
from server.tokenizer.bytes import ByteTokenizer

VOCABULARY = make_vocabulary(ByteTokenizer(), ByteTokenizer.vocab_size)
_ENDS = np.frombuffer(b'"}]', np.uint8)
_OPENAPI_NULL = re.compile(
    r'"type": "string", "nullable": true, "enum": \[null\]'
    r'|"nullable": true, "type": "string", "enum": \[null\]'
)
_OFTEN = 0.35
"""How often an output takes an end that it may take."""
MAX_BYTES = 400


getcontext().prec = 500  # outputs have so many digits at most


def multiple_of(_: Any, step: Any, value: Any, __: Any) -> Any:
    """As decimals: 0.3 is a multiple of 0.1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and Decimal(str(value)) % Decimal(str(step)):
        yield jsonschema.ValidationError(f"{value} is not a multiple of {step}")


def pattern_of(_: Any, pattern: str, value: Any, __: Any) -> Any:
    """As in ECMAScript, where \\d and \\w are of ASCII."""
    if isinstance(value, str) and not re.search(pattern, value, re.ASCII):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def validator_of(schema: dict[str, Any]) -> Any:
    """The judge, by the draft of the schema; without patterns that Python does not have."""
    text = re.sub(r'"pattern": "[^"]*\\\\p[^"]*"', '"x": 1', json.dumps(schema))
    draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    if '"items": [' in text and '"prefixItems"' not in text:
        draft = jsonschema.Draft7Validator
    if re.search(r'"exclusiveM(ax|in)imum": (true|false)', text):
        draft = jsonschema.Draft4Validator
    text = re.sub(_OPENAPI_NULL, '"enum": [null]', text)
    rules = {"multipleOf": multiple_of, "pattern": pattern_of}
    return jsonschema.validators.extend(draft, rules)(json.loads(text))


def tried(schema: dict[str, Any], count: int, seed: int) -> tuple[str, list[str]]:
    """Why there is no grammar, or random outputs, those that end in time."""
    try:
        grammar = json_grammar(schema)
        check_ends(grammar)
        validate_grammar(grammar)
        matcher = compile_grammar(grammar, VOCABULARY)
        if not any(matcher.compute_logit_bias()):
            return "no output is possible", []
    except GrammarError as error:
        return str(error), []
    rng = np.random.default_rng(seed)
    found = [_output(matcher.deep_copy(), rng) for _ in range(count)]
    return "", [text for text in found if text is not None]


def _output(matcher: Any, rng: np.random.Generator) -> str | None:
    bits = np.zeros((1, -(-ByteTokenizer.vocab_size // 32)), np.int32)
    text = bytearray()
    while not matcher.is_stopped():
        fill_next_token_bitmask(matcher, bits)
        check_matcher(matcher)
        allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        if matcher.is_accepting():
            break
        ends = allowed[np.isin(allowed, _ENDS)]
        often = _OFTEN if len(text) < MAX_BYTES // 2 else 1.0
        token = int(rng.choice(ends if len(ends) and rng.random() < often else allowed))
        matcher.consume_token(token)
        text.append(token)
        if len(text) > MAX_BYTES:
            return None
    return text.decode()
