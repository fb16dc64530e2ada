"""What the grammars of running requests allow next."""

from concurrent.futures import FIRST_COMPLETED, wait

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher
from llguidance.numpy import fill_next_token_bitmask

from server.engine.batch import BatchResult
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.request import Request
from server.grammars.compiling import check_matcher
from server.grammars.errors import GrammarError
from server.kernels.sampling import NO_TOKEN
from server.sampling.params import NEVER, SamplingParams

Mask = npt.NDArray[np.uint32]

COMPILE_SECONDS = 30.0
"""For so long a request waits for its grammar."""


class GrammarRows:
    """A matcher for each request that has a grammar, from its slot to its end."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._compiling: dict[str, Request] = {}
        self._rows: dict[str, _Row] = {}

    def prepare(self, request: Request) -> None:
        """Begin to compile the grammar of a new request; it waits until that is done."""
        if request.params.grammar and request.params.max_tokens:
            request.grammar = self._compiler.compile(request.params.grammar)
            request.is_compiling = True
            self._compiling[request.request_id] = request

    def unusable(self, now: float) -> list[tuple[Request, str]]:
        """Requests whose grammars turned out not to compile, and why; `now` is by their clock.

        Those whose grammars are there wait no longer.
        """
        found = []
        for request in list(self._compiling.values()):
            assert request.grammar is not None
            if request.grammar.done():
                del self._compiling[request.request_id]
                request.is_compiling = False
                if error := request.grammar.exception():
                    found.append((request, f"grammar: {error}"))
            elif now - request.added_at > COMPILE_SECONDS:
                found.append((request, "grammar: it takes too long to compile"))
        return found

    def wait(self, seconds: float) -> bool:
        """Wait for a grammar that is being compiled; whether there was any."""
        futures = [r.grammar for r in self._compiling.values() if r.grammar is not None]
        wait(futures, seconds, FIRST_COMPLETED)
        return bool(futures)

    def start(self, request: Request) -> None:
        """A request has got its slot: its output begins, or goes on after what is known of it."""
        if request.grammar is None:
            return
        params, compiler = request.params, self._compiler
        ends = {*params.stop_token_ids} | compiler.first_tokens(params.stop)
        matcher = request.grammar.result().deep_copy()
        matcher.consume_tokens(request.task.generated_ids)
        row = _Row(matcher, compiler, ends, params.ignore_eos)
        self._rows[request.request_id] = row

    def mask(self, request: Request) -> Mask | None:
        """[⌈V / 32⌉], a bit for each token that may follow; None if any may."""
        row = self._rows.get(request.request_id)
        return row.mask() if row is not None and not request.known_ids else None

    def advance(self, request: Request, token: int, result: BatchResult) -> None:
        """Take in the token that was sampled, and tell what it means."""
        row = self._rows.get(request.request_id)
        if row is None:
            return
        if not row.error and token == NO_TOKEN and _may_ban(request.params):
            fields = "bad_words, allowed_token_ids, logit_bias or min_tokens"
            row.error = f"{fields} ban all that it allows here"
        if not row.error and token in row.ends:
            result.ended.add(request.request_id)
        elif not row.error and token != NO_TOKEN and row.take(token):
            result.complete.add(request.request_id)
        if row.error:
            result.errors[request.request_id] = f"grammar: {row.error}"

    def release(self, request: Request) -> None:
        """Forget a request, at whatever stage it was."""
        self._compiling.pop(request.request_id, None)
        self._rows.pop(request.request_id, None)


class _Row:
    """The output of one request so far."""

    def __init__(
        self, matcher: LLMatcher, compiler: GrammarCompiler, ends: set[int], ignore_eos: bool
    ) -> None:
        self.error = ""
        self.ends: set[int] = set()
        """Tokens that end the output here and are no part of it."""
        self._matcher = matcher
        self._eos_id = compiler.eos_id
        self._words = -(-compiler.vocab_size // 32)
        self._possible_ends = ends
        self._ignore_eos = ignore_eos
        self._check()

    def mask(self) -> Mask | None:
        """As GrammarRows.mask. Where the output may end, so may it with what ends the turn."""
        bits = np.zeros((1, self._words), dtype=np.int32)
        if not self.error:
            fill_next_token_bitmask(self._matcher, bits)
            self._check()
        mask: Mask = bits[0].view(np.uint32)
        if not self.error and not mask.any():
            self.error = "it allows no token of this model"
        if self.error:
            return None
        self.ends = set()
        if _has(mask, self._eos_id):
            self.ends = {end for end in self._possible_ends if not _has(mask, end)}
            self.ends.add(self._eos_id)
            only_end = int(np.bitwise_count(mask).sum()) == 1
            for end in self.ends:
                mask[end >> 5] |= np.uint32(1 << (end & 31))
            if self._ignore_eos and not only_end:
                mask[self._eos_id >> 5] &= ~np.uint32(1 << (self._eos_id & 31))
        return mask

    def take(self, token: int) -> bool:
        """Go on; whether nothing can follow."""
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        try:
            check_matcher(self._matcher)
        except GrammarError as error:
            self.error = str(error)


def _may_ban(params: SamplingParams) -> bool:
    """Whether a request itself may have left no token; else the logits are at fault."""
    bans = any(bias == NEVER for _, bias in params.logit_bias)
    return bool(params.allowed_token_ids or params.min_tokens or params.bad_words or bans)


def _has(mask: Mask, token: int) -> bool:
    return bool(mask[token >> 5] >> np.uint32(token & 31) & 1)
