"""Requests of llama.cpp's clients as the completion that gives the same answer."""

from typing import Any

from pydantic import ValidationError

from server.api.errors import invalid_request
from server.api.filling import Gap
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.embeddings import EmbeddingRequest
from server.api.schemas.llama_server import (
    Extra,
    InfillRequest,
    NativeEmbeddingRequest,
    NativeRequest,
)
from server.api.schemas.peer_fields import ALIASES
from server.config import LimitsSettings

_MAX_TOKENS = ("n_predict", "max_tokens", "max_completion_tokens")


def completion_of(body: NativeRequest, limits: LimitsSettings) -> CompletionRequest:
    """The completion of a request. Raises RequestValidationError."""
    fields: dict[str, Any] = dict(body.model_extra or {})
    if fields.get("seed") == -1:
        del fields["seed"]
    if all(fields.get(name) is None for name in _MAX_TOKENS):
        fields["max_tokens"] = min(limits.default_output_tokens, limits.max_output_tokens)
    off = body.off()
    fields = {name: value for name, value in fields.items() if ALIASES.get(name) not in off}
    fields |= off | {"prompt": body.prompt, "stream": body.stream}
    if body.probabilities:
        fields["logprobs"] = body.probabilities
    try:
        return CompletionRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, str) from None


def filling_of(body: InfillRequest, limits: LimitsSettings) -> tuple[CompletionRequest, Gap]:
    """The completion of a request, and between what. Raises RequestValidationError."""
    prefix = body.input_prefix + body.prompt
    completion = completion_of(body.model_copy(update={"prompt": prefix}), limits)
    gap = Gap(
        body.input_suffix,
        tuple(map(_part, body.input_extra)),
        prefix_param="input_prefix",
        suffix_param="input_suffix",
        before_param="input_extra",
    )
    return completion, gap


def embedding_of(body: NativeEmbeddingRequest) -> EmbeddingRequest:
    """The same in OpenAI's terms. Raises RequestValidationError."""
    fields = {"input": body.content, "normalize": body.embd_normalize == 2}
    try:
        return EmbeddingRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, lambda _: "content") from None


def _part(extra: Extra) -> str:
    return f"\n\n--- {extra.filename or 'snippet'} ---\n\n{extra.text}"
