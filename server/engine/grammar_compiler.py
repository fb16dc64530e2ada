"""Compiles the grammars of requests beside the steps of the engine."""

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from llguidance import LLMatcher, LLTokenizer

from server.grammars.compiling import compile_grammar, make_vocabulary
from server.tokenizer.base import Tokenizer

_MOST_KEPT = 32
_MOST_BYTES = 2 << 20
"""Of kept grammars as text; compiled ones have up to some hundred times as much."""


class GrammarCompiler:
    """One thread, and the last grammars, each as a matcher at its beginning.

    The checks of the API process have bounded what a grammar takes to compile.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """`vocab_size` is the number of logits."""
        self.eos_id = tokenizer.eos_id
        self.vocab_size = vocab_size
        self._tokenizer = tokenizer
        self._vocabulary: LLTokenizer | None = None
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._kept: OrderedDict[str, Future[LLMatcher]] = OrderedDict()
        self._bytes = 0

    def compile(self, grammar: str) -> "Future[LLMatcher]":
        """To be copied before use. It raises GrammarError."""
        if grammar not in self._kept:
            self._kept[grammar] = self._thread.submit(self._compile, grammar)
            self._bytes += len(grammar)
        self._kept.move_to_end(grammar)
        while len(self._kept) > _MOST_KEPT or self._bytes > _MOST_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[0])
        return self._kept[grammar]

    def first_tokens(self, texts: Iterable[str]) -> set[int]:
        """With which the model begins these texts."""
        return {ids[0] for text in texts if (ids := self._tokenizer.encode(text))}

    def _compile(self, grammar: str) -> LLMatcher:
        if self._vocabulary is None:  # most servers never need it
            self._vocabulary = make_vocabulary(self._tokenizer, self.vocab_size)
        return compile_grammar(grammar, self._vocabulary)
