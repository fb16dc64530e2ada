"""What the engine says about a request after a step. Plain data, also on the wire."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from server.sampling.token_logprobs import TokenLogprobs

FinishReason = Literal["stop", "length", "abort", "error"]
ErrorCode = Literal["engine_error", "poison_request", "grammar_error"]


class RequestOutput(msgspec.Struct, frozen=True):
    """News of one request since the last step."""

    request_id: str
    text: str
    """Text that is certain now; never part of a UTF-8 character or of a stop string."""
    token_ids: list[int]
    """Ids generated since the last output (also those whose text is still held back)."""
    finish_reason: FinishReason | None = None
    error: str | None = None
    """One line, when the finish reason is "error"."""
    error_code: ErrorCode = "engine_error"
    """What the API calls it."""
    cached_tokens: int = 0
    """With the first token: how many of the prompt's came from the state cache."""
    written_tokens: int = 0
    """With the first token: how many more of the prompt's are in the state cache now."""
    queued_seconds: float = 0.0
    """With the first token: how long the request waited for a slot."""
    logprobs: list[TokenLogprobs] = []
    """Of the token_ids, if the task asked for them; else empty."""
    prompt_logprobs: list[TokenLogprobs | None] = []
    """With the first token, or at the end without one: of the prompt's tokens, if the task asked
    for them, from prompt_logprobs_from on; None for the first one."""
    mu: float | None = None
    """That of mirostat after token_ids, if it is on: a resumed request needs it."""
    stop_string: str = ""
    """With the finish reason: that which ended the text, if one did."""
    state: bytes = b""
    """With the finish reason, if the task asked for it: the state after the prompt, encoded."""
    embedding: bytes = b""
    """With the finish reason, if the task has a pooling: little-endian float64, one for each
    channel of the model, not normalised; of `state` the one logit of the reranker."""


def merged(outputs: list[RequestOutput]) -> RequestOutput:
    """Consecutive outputs of one request as a single one; there must be some."""
    if len(outputs) == 1:
        return outputs[0]
    return RequestOutput(
        request_id=outputs[-1].request_id,
        text="".join(output.text for output in outputs),
        token_ids=[token for output in outputs for token in output.token_ids],
        finish_reason=outputs[-1].finish_reason,
        error=outputs[-1].error,
        error_code=outputs[-1].error_code,
        cached_tokens=sum(output.cached_tokens for output in outputs),
        written_tokens=sum(output.written_tokens for output in outputs),
        queued_seconds=sum(output.queued_seconds for output in outputs),
        logprobs=[each for output in outputs for each in output.logprobs],
        prompt_logprobs=[each for output in outputs for each in output.prompt_logprobs],
        mu=outputs[-1].mu,
        stop_string=outputs[-1].stop_string,
        state=outputs[-1].state,
        embedding=outputs[-1].embedding,
    )


def size_of(output: RequestOutput) -> int:
    """How much work it makes: its tokens, and their log-probabilities with the most likely ones."""
    of_prompt = output.prompt_logprobs
    return len(output.token_ids) * _width(output.logprobs) + len(of_prompt) * _width(of_prompt)


def parted(output: RequestOutput, most: int) -> list[RequestOutput]:
    """The inverse of merged(): the log-probabilities of a prompt in parts of about that size."""
    known = output.prompt_logprobs
    count = max(1, most // _width(known))
    if len(known) <= count:
        return [output]
    *others, last = [known[start : start + count] for start in range(0, len(known), count)]
    parts = [RequestOutput(output.request_id, "", [], prompt_logprobs=each) for each in others]
    parts[0] = replace(
        parts[0],
        cached_tokens=output.cached_tokens,
        written_tokens=output.written_tokens,
        queued_seconds=output.queued_seconds,
    )
    rest = replace(output, prompt_logprobs=last, cached_tokens=0, written_tokens=0)
    return [*parts, replace(rest, queued_seconds=0.0)]


def _width(logprobs: Sequence[TokenLogprobs | None]) -> int:
    """How many log-probabilities there are of each token, which are as many of all, or 1."""
    last = logprobs[-1] if logprobs else None
    return 1 if last is None else 1 + len(last.top_ids)
