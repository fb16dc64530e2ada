"""Grammars to matchers, within limits."""

from collections.abc import Sequence

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from server.grammars.forms import GrammarError
from server.tokenizer.base import Tokenizer

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
        raise GrammarError(complaints[0])


def check_matcher(matcher: LLMatcher) -> None:
    """Raise GrammarError if a matcher cannot go on."""
    if matcher.is_error():
        error = matcher.get_error().removesuffix("<non-verbose/>").strip()
        if error.startswith("panic"):
            error = "the compiler fails on it"
        raise GrammarError("no output is possible" if error == "NoExtensionBias" else error)


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
