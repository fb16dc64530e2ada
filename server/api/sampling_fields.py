"""From the fields of a request to sampling parameters."""

from server.api.encoding import check_ids
from server.api.errors import ApiError
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.role_fields import renamed_stops
from server.config import SamplingSettings
from server.registry.served_model import ServedModel
from server.sampling.params import NEVER, SamplingParams
from server.tokenizer.base import Tokenizer
from server.tokenizer.turn_ends import TurnEnds

_AS_THEY_ARE = (
    *("min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("penalty_decay", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    *("typical_p", "min_p", "xtc_probability", "xtc_threshold", "penalty_last_n"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos"),
)
"""Fields that are parameters of the same name."""


def sampling_params(
    body: GenerationRequest,
    max_tokens: int,
    ends: TurnEnds,
    tokenizer: Tokenizer,
    defaults: SamplingSettings,
    grammar: str,
) -> SamplingParams:
    """All but the seed, which is for the plan to choose.

    Raises ApiError for tokens that the model does not have, or if none may be sampled.
    """
    if body.min_tokens > max_tokens:
        message = f"min_tokens is over max_tokens, which is {max_tokens}"
        raise ApiError("invalid_value", message, "min_tokens")
    check_ids(body.allowed_token_ids, "allowed_token_ids", tokenizer)
    check_ids(body.stop_token_ids, "stop_token_ids", tokenizer)
    params = SamplingParams(
        max_tokens=max_tokens,
        seed=0,
        allowed_token_ids=tuple(body.allowed_token_ids),
        logit_bias=_logit_bias(body.logit_bias, tokenizer),
        dry_sequence_breakers=tuple(body.dry_sequence_breakers),
        temperature=_given(body.temperature, defaults.temperature),
        # A larger k keeps all as well, and may be too large for the message to a worker.
        top_k=min(max(body.top_k, 0), tokenizer.vocab_size),
        top_p=_given(body.top_p, 1.0 if body.mirostat else defaults.top_p),
        top_n_sigma=max(body.top_n_sigma, 0.0),
        bad_words=tuple(dict.fromkeys(body.bad_words)),
        stop=tuple(dict.fromkeys((*ends.texts, *body.stop))),
        shown_stop=tuple(dict.fromkeys(body.stop)) if body.include_stop_str_in_output else (),
        stop_token_ids=tuple(dict.fromkeys((*ends.ids, *body.stop_token_ids))),
        # The best of several choices are found by their tokens' log-probabilities.
        logprobs=max(body.wanted_logprobs, 0 if body.choices > body.n else -1),
        prompt_logprobs=body.wanted_prompt_logprobs,
        grammar=grammar,
        **{name: getattr(body, name) for name in _AS_THEY_ARE},
    )
    _check_possible(params, tokenizer)
    return params


def ends_of_chat(body: ChatCompletionRequest, model: ServedModel) -> TurnEnds:
    """What ends an answer, with the names that the request has for roles."""
    texts = renamed_stops(model.turn_ends.texts, body.role_names)
    return TurnEnds(() if body.ignore_eos else model.turn_ends.ids, texts)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _logit_bias(
    pairs: list[tuple[int | str, float]], tokenizer: Tokenizer
) -> tuple[tuple[int, float], ...]:
    """Each token once; the last bias counts."""
    biases = {}
    for token, bias in pairs:
        if isinstance(token, str):
            ids = tokenizer.encode(token)
            if len(ids) != 1:
                message = f"logit_bias: {token!r:.100} is {len(ids)} tokens; it should be one"
                raise ApiError("invalid_value", message, "logit_bias")
            biases[ids[0]] = bias
        else:
            biases[token] = bias
    check_ids(list(biases), "logit_bias", tokenizer)
    return tuple(biases.items())


def _check_possible(params: SamplingParams, tokenizer: Tokenizer) -> None:
    """Raise ApiError if no token may be sampled."""
    banned = {token for token, bias in params.logit_bias if bias == NEVER}
    if params.min_tokens:
        banned |= {tokenizer.eos_id, *params.stop_token_ids}
    if params.allowed_token_ids and banned.issuperset(params.allowed_token_ids):
        message = "allowed_token_ids has only tokens that logit_bias or min_tokens bans"
        raise ApiError("invalid_value", message, "allowed_token_ids")
    if banned.issuperset(range(tokenizer.vocab_size)):
        raise ApiError("invalid_value", "logit_bias bans all tokens", "logit_bias")
