"""Grammars to matchers, within limits."""

import re
from collections.abc import Sequence

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from server.grammars.errors import GrammarError
from server.tokenizer.base import Tokenizer

_WORDS = (
    (r'Unimplemented keys: \["(.*)"\]', r"\1 cannot be kept to; leave it out"),
    (r"oneOf constraints are not supported", "oneOf has options that may overlap; use anyOf"),
    (r"min/maxProperties only supported", "minProperties and maxProperties cannot be kept to here"),
    (r"circular references with sibling keys[^:]*: (?:json-schema:///)?(.*)",
     r"\1 refers to itself beside other keywords; put the $ref into an object of its own"),
    (r"patternProperty regexes (.*) are not disjoint", r"patternProperties: a name could match "
     r"both of \1; make them differ"),
    (r"can't determine if patternProperty regexes (.*) are disjoint", r"patternProperties: \1 are "
     "too complex beside each other"),
    (r"(?:Unable to determine if regex is empty|Regex is empty): (.*)", r"pattern: no string, or "
     r"none that is found, matches it together with format and lengths: \1"),
    (r"Unsatisfiable schema: (.*)", r"no output is possible: \1"),
    (r"required property ('.*') is unsatisfiable", r"no output is possible: \1 is required, and no "
     "value is right for it"),
)  # fmt: skip
"""What the compiler says of schemas, and what that means to those who wrote them."""

_LIMITS = LLParserLimits(
    max_lexer_states=50_000,  # of 1 to 2 kB each
    # So a mask takes a tenth of a second at the very worst. An object of 240 properties that may
    # be left out fits in, and any number of others.
    max_items_in_row=1_000,
    step_max_items=5_000,
    verbose_errors=False,
)


def make_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> LLTokenizer:
    """The tokens of a model with so many logits. Special and unknown ids have no text, so that no
    grammar allows them. Takes a fifth of a second and 20 MB for 65,536 tokens.
    """
    wrapper = TokenizerWrapper(_Vocabulary(tokenizer, vocab_size))
    return LLTokenizer(wrapper, eos_token=tokenizer.eos_id)


def compile_grammar(grammar: str, vocabulary: LLTokenizer) -> LLMatcher:
    """A matcher at the beginning of its output. Raises GrammarError."""
    matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=_LIMITS)
    check_matcher(matcher)
    return matcher


def validate_grammar(grammar: str) -> None:
    """Raise GrammarError for what is wrong with the text, also for what would be ignored."""
    _, complaints = LLMatcher.validate_grammar_with_warnings(grammar, limits=_LIMITS)
    if complaints:
        raise GrammarError(in_plain_words(complaints[0]))


def in_plain_words(complaint: str) -> str:
    """What is wrong with a schema, in the words of JSON Schema."""
    for pattern, words in _WORDS:
        if found := re.search(pattern, complaint):
            return found.expand(words)
    return complaint


def check_matcher(matcher: LLMatcher) -> None:
    """Raise GrammarError if a matcher cannot go on."""
    if matcher.is_error():
        error = matcher.get_error().removesuffix("<non-verbose/>").strip()
        if error.startswith("panic"):
            error = "the compiler fails on it"
        error = "no output is possible" if error == "NoExtensionBias" else in_plain_words(error)
        raise GrammarError(error)


class _Vocabulary:
    """A tokenizer as llguidance wants it."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.eos_token_id = tokenizer.eos_id
        self.special_token_ids = [tokenizer.eos_id]
        self.tokens: Sequence[bytes] = [
            b"" if token == tokenizer.eos_id else tokenizer.token_bytes(token)
            for token in range(vocab_size)
        ]
        self._encode = tokenizer.encode

    def __call__(self, text: bytes) -> list[int]:
        """How the model would write a text that the grammar leaves no choice about.

        Nothing if the tokens are not the text's, such as with a space before it: then the longest
        tokens are taken.
        """
        ids = self._encode(text.decode("utf-8", "replace"))
        return ids if b"".join(self.tokens[token] for token in ids) == text else []
