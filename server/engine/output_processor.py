"""From sampled tokens to text and finish reasons, of which it is the only judge."""

import numpy as np
from msgspec.structs import replace

from server.engine.batch import Batch, BatchResult
from server.engine.request import Request
from server.engine.stop_strings import StopStrings
from server.protocol.outputs import FinishReason, RequestOutput
from server.sampling.params import SamplingParams
from server.tokenizer.base import Tokenizer
from server.tokenizer.detokenizer import Detokenizer


class _RequestText:
    """The text side of one request."""

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        self.detokenizer = Detokenizer(tokenizer)
        self.stops = StopStrings(params.stop, params.shown_stop)
        self.stop_token_ids = set(params.stop_token_ids)
        if not params.ignore_eos:
            self.stop_token_ids.add(tokenizer.eos_id)


class OutputProcessor:
    """Holds the text state of every request that was added and has not finished."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[str, _RequestText] = {}

    def add(self, request: Request) -> None:
        """A new request has come; of one that is resumed, the text so far was output before."""
        text = _RequestText(self._tokenizer, request.params)
        for token in request.task.generated_ids:
            text.stops.push(text.detokenizer.push([token]))
        self._texts[request.request_id] = text

    def remove(self, request: Request) -> None:
        """A request was aborted."""
        del self._texts[request.request_id]

    def process(
        self, batch: Batch, result: BatchResult
    ) -> tuple[list[RequestOutput], list[Request]]:
        """The news of this step, and the requests that end with it."""
        outputs, finished = [], []
        for chunk in batch.chunks:
            request = chunk.request
            if request.request_id in result.embeddings:
                output = _embedded(request, result.embeddings[request.request_id])
            elif request.request_id in result.sampled:
                output = self._advance(request, result)
            else:
                continue
            logprobs = result.logprobs.get(request.request_id)
            if logprobs is not None and output.token_ids:
                output = replace(output, logprobs=[logprobs])
            outputs.append(output)
            if output.finish_reason is not None:
                finished.append(request)
                del self._texts[request.request_id]
        return outputs, finished

    def _advance(self, request: Request, result: BatchResult) -> RequestOutput:
        name = request.request_id
        text, token = self._texts[name], result.sampled[name]
        if name in result.errors:
            error = result.errors[name]
            return RequestOutput(name, "", [], "error", error, error_code="grammar_error")
        if token < 0 and request.params.bad_words:
            error = "bad_words and other fields ban all tokens; ask for fewer"
            return RequestOutput(name, "", [], "error", error, error_code="grammar_error")
        if token < 0:
            error = "the model computed no finite logits"
            return RequestOutput(name, "", [], "error", error)
        if not request.params.max_tokens:
            return _news(request, "", [], "length")
        reason: FinishReason | None = None
        piece = ""
        if token in text.stop_token_ids or name in result.ended:
            reason = "stop"
        else:
            piece = text.stops.push(text.detokenizer.push([token]))
            if text.stops.found or name in result.complete:
                reason = "stop"
            elif request.generated + 1 >= request.params.max_tokens:
                reason = "length"
        if reason is not None and not text.stops.found:
            piece += text.stops.push(text.detokenizer.flush())
            piece += text.stops.flush()
        output = _news(request, piece, [token], reason)
        return replace(output, stop_string=text.stops.found) if text.stops.found else output


def _embedded(request: Request, embedding: bytes) -> RequestOutput:
    if not np.isfinite(np.frombuffer(embedding, "<f8")).all():
        error = "the model computed no finite hidden states"
        return RequestOutput(request.request_id, "", [], "error", error)
    return replace(_news(request, "", [], "stop"), embedding=embedding)


def _news(
    request: Request, text: str, token_ids: list[int], reason: FinishReason | None
) -> RequestOutput:
    if request.generated:
        return RequestOutput(request.request_id, text, token_ids, reason, mu=request.mu)
    return RequestOutput(
        request.request_id,
        text,
        token_ids,
        reason,
        cached_tokens=request.cached,
        written_tokens=request.written,
        queued_seconds=request.queued_seconds,
        prompt_logprobs=request.prompt_logprobs.as_list() if request.prompt_logprobs else [],
        mu=request.mu,
    )
