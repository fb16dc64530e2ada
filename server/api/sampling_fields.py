"""From the fields of a request to sampling parameters."""

from server.api.schemas.generation import GenerationRequest
from server.config import SamplingSettings
from server.sampling.params import SamplingParams
from server.tokenizer.base import Tokenizer


def sampling_params(
    body: GenerationRequest,
    max_tokens: int,
    template_stop: tuple[str, ...],
    tokenizer: Tokenizer,
    defaults: SamplingSettings,
    grammar: str,
) -> SamplingParams:
    """All but the seed, which is for the plan to choose."""
    return SamplingParams(
        max_tokens=max_tokens,
        seed=0,
        temperature=_given(body.temperature, defaults.temperature),
        top_p=_given(body.top_p, defaults.top_p),
        # A larger k keeps all as well, and may be too large for the message to a worker.
        top_k=min(max(body.top_k, 0), tokenizer.vocab_size),
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        penalty_decay=body.penalty_decay,
        repetition_penalty=body.repetition_penalty,
        stop=tuple(dict.fromkeys((*template_stop, *body.stop))),
        stop_token_ids=tuple(body.stop_token_ids),
        ignore_eos=body.ignore_eos,
        grammar=grammar,
    )


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
