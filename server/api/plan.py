"""From a validated request to what the engine is asked: token ids and sampling parameters."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from server.api.boundaries import chat_boundaries
from server.api.errors import ApiError
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.config import LimitsSettings, SamplingSettings, Settings
from server.registry.served_model import ServedModel
from server.sampling.params import SamplingParams
from server.snapshots.snapshot import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError
from server.workers.messages import CacheUse, Task

T = TypeVar("T")
# Longer texts are encoded in a thread: at about 1 MB/s they would hold up every other stream.
THREAD_CHARS = 16 * 1024
MOST_BREAKPOINTS = 4
"""Of the breakpoints of a request, so many count, the latest."""


@dataclass(frozen=True)
class Plan:
    """One HTTP request's work for the engine; choice i of prompt p has the index p × n + i."""

    prompts: list[list[int]]
    choices: list[Task]
    key: str = ""
    """Requests with the same one should go to the same worker."""

    @property
    def choices_per_prompt(self) -> int:
        """n."""
        return len(self.choices) // len(self.prompts)


async def plan_completion(body: CompletionRequest, model: ServedModel, settings: Settings) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, len(body.prompt), limits)
    max_tokens = _max_tokens(body.max_tokens, "max_tokens", limits)
    prompts = []
    for prompt in body.prompt:
        if isinstance(prompt, str):
            ids = await _run(len(prompt), model.tokenizer.encode, prompt)
        else:
            ids = prompt
            _check_ids(ids, "prompt", model.tokenizer)
        _check_length(ids, "prompt", limits)
        prompts.append(ids)
    return _plan(body, prompts, max_tokens, (), {}, model, settings.sampling)


async def plan_chat(body: ChatCompletionRequest, model: ServedModel, settings: Settings) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, 1, limits)
    if body.max_completion_tokens is not None:
        max_tokens = _max_tokens(body.max_completion_tokens, "max_completion_tokens", limits)
    else:
        wanted = body.max_tokens or min(limits.default_output_tokens, limits.max_output_tokens)
        max_tokens = _max_tokens(wanted, "max_tokens", limits)
    messages = [message.as_dict() for message in body.messages]
    size = sum(len(message["content"]) for message in messages)
    breakpoints = [(at, end) for at, each in enumerate(body.messages) for end in each.breakpoints]
    latest = breakpoints[-MOST_BREAKPOINTS:]
    ids, boundaries = await _run(size, _encode_chat, messages, latest, model)
    _check_length(ids, "messages", limits)
    stop = model.chat_template.stop
    return _plan(body, [ids], max_tokens, stop, boundaries, model, settings.sampling)


def _plan(
    body: GenerationRequest,
    prompts: list[list[int]],
    max_tokens: int,
    template_stop: tuple[str, ...],
    boundaries: dict[int, SnapshotKind],
    model: ServedModel,
    defaults: SamplingSettings,
) -> Plan:
    _check_ids(body.stop_token_ids, "stop_token_ids", model.tokenizer)
    choices = []
    use = _cache_use(body, boundaries)
    for ids in prompts:
        # Without a seed equal prompts should differ; with one, a prompt's result must not depend
        # on the prompts beside it.
        seed = secrets.randbits(64) if body.seed is None else body.seed
        for number in range(body.n):
            params = SamplingParams(
                max_tokens=max_tokens,
                seed=(seed + number) % 2**64,
                temperature=_given(body.temperature, defaults.temperature),
                top_p=_given(body.top_p, defaults.top_p),
                # A larger k keeps all as well, and may be too large for the message to a worker.
                top_k=min(max(body.top_k, 0), model.tokenizer.vocab_size),
                presence_penalty=body.presence_penalty,
                frequency_penalty=body.frequency_penalty,
                penalty_decay=body.penalty_decay,
                repetition_penalty=body.repetition_penalty,
                stop=tuple(dict.fromkeys((*template_stop, *body.stop))),
                stop_token_ids=tuple(body.stop_token_ids),
                ignore_eos=body.ignore_eos,
            )
            choices.append(Task(ids, params, use=use))
    return Plan(prompts, choices, body.prompt_cache_key)


def _cache_use(body: GenerationRequest, boundaries: dict[int, SnapshotKind]) -> CacheUse:
    implicit = body.prompt_cache_options.mode == "implicit"
    if not implicit:
        boundaries = {at: kind for at, kind in boundaries.items() if kind == "breakpoint"}
    keeps = not body.no_cache and (implicit or bool(boundaries))
    return CacheUse(keeps, keeps, body.cache_salt, boundaries, implicit)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _encode_chat(
    messages: list[dict[str, Any]], breakpoints: list[tuple[int, int]], model: ServedModel
) -> tuple[list[int], dict[int, SnapshotKind]]:
    """The prompt's ids, and after how many of them snapshots are wanted."""
    try:
        text = model.chat_template.render(messages)
    except TokenizerError as error:  # such as roles in an order that the template refuses
        raise ApiError("invalid_value", str(error), "messages") from None
    ids = model.tokenizer.encode(text)
    template, tokenizer = model.chat_template, model.tokenizer
    return ids, chat_boundaries(messages, text, ids, template, tokenizer, breakpoints)


async def _run(size: int, encode: Callable[..., T], *args: Any) -> T:
    if size > THREAD_CHARS:
        return await asyncio.to_thread(encode, *args)
    return encode(*args)


def _check_choices(body: GenerationRequest, prompts: int, limits: LimitsSettings) -> None:
    if prompts * body.n > limits.max_choices:
        raise ApiError(
            "invalid_value",
            f"n times the number of prompts is over this server's limit of {limits.max_choices}",
            "n",
        )


def _max_tokens(wanted: int, param: str, limits: LimitsSettings) -> int:
    if wanted > limits.max_output_tokens:
        raise ApiError(
            "invalid_value",
            f"{param} is over this server's limit of {limits.max_output_tokens}",
            param,
        )
    return wanted


def _check_ids(ids: list[int], param: str, tokenizer: Tokenizer) -> None:
    if ids and not (min(ids) >= 0 and max(ids) < tokenizer.vocab_size):
        raise ApiError(
            "invalid_value",
            f"{param} has a token id outside the vocabulary, 0 to {tokenizer.vocab_size - 1}",
            param,
        )


def _check_length(ids: list[int], param: str, limits: LimitsSettings) -> None:
    if 0 < limits.max_prompt_tokens < len(ids):
        raise ApiError(
            "context_length_exceeded",
            f"{param} has {len(ids)} tokens, over this server's limit of "
            f"{limits.max_prompt_tokens} tokens a prompt",
            param,
        )
