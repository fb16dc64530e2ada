"""From a validated request to what the engine is asked: token ids and sampling parameters."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from server.api.boundaries import chat_boundaries
from server.api.errors import ApiError
from server.api.request_metrics import Operation
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.generation import GenerationRequest, PromptRequest
from server.api.schemas.states import StateRequest
from server.api.states import StateContent
from server.api.tenant import Owner, cache_salt_of
from server.config import LimitsSettings, SamplingSettings, Settings
from server.registry.served_model import ServedModel
from server.sampling.params import SamplingParams
from server.snapshots.snapshot import SnapshotKind
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.chat_template import Renderer
from server.tokenizer.continued_template import ContinuedTemplate
from server.workers.messages import CacheUse, Task

T = TypeVar("T")
Boundaries = dict[int, SnapshotKind]
# Longer texts are encoded in a thread: at about 1 MB/s they would hold up every other stream.
THREAD_CHARS = 16 * 1024
MOST_BREAKPOINTS = 4
"""Of the breakpoints of a request, so many count, the latest."""

READS_ONLY = SamplingParams(max_tokens=0, seed=0)
"""For a task that takes its prompt in, and no more."""


@dataclass(frozen=True)
class Plan:
    """One HTTP request's work for the engine; choice i of prompt p has the index p × n + i."""

    prompts: list[list[int]]
    choices: list[Task]
    key: str = ""
    """Requests with the same one should go to the same worker."""
    base_tokens: int = 0
    """How many tokens the state has read that all prompts go on from."""
    operation: Operation = "text_completion"

    @property
    def choices_per_prompt(self) -> int:
        """n."""
        return len(self.choices) // len(self.prompts)

    def after(self, state: StateContent) -> "Plan":
        """The same, going on from a state. Raises ApiError for an empty prompt if it cannot."""
        if not state.has_logits and not all(self.prompts):
            raise ApiError(
                "invalid_value", "prompt must not be empty: the state has no logits", "prompt"
            )
        tasks = [msgspec.structs.replace(task, base=state.payload) for task in self.choices]
        return replace(self, choices=tasks, base_tokens=state.tokens)


async def plan_completion(
    body: CompletionRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, len(body.prompt), limits)
    max_tokens = _max_tokens(body.max_tokens, "max_tokens", limits)
    prompts = await _encode_prompts(body.prompt, model, limits)
    return _plan(body, prompts, max_tokens, (), {}, model, settings.sampling, owner)


async def plan_chat(
    body: ChatCompletionRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, 1, limits)
    if body.max_completion_tokens is not None:
        max_tokens = _max_tokens(body.max_completion_tokens, "max_completion_tokens", limits)
    else:
        wanted = body.max_tokens or min(limits.default_output_tokens, limits.max_output_tokens)
        max_tokens = _max_tokens(wanted, "max_tokens", limits)
    ids, boundaries = await _encode_messages(body, model, limits, add_generation_prompt=True)
    stop = model.chat_template.stop
    plan = _plan(body, [ids], max_tokens, stop, boundaries, model, settings.sampling, owner)
    return replace(plan, operation="chat")


async def plan_state(
    body: StateRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan whose one task leaves a state. Raises ApiError like the others."""
    boundaries: Boundaries = {}
    if body.prompt:
        (ids,) = await _encode_prompts(body.prompt, model, settings.limits)
    else:
        ids, boundaries = await _encode_messages(
            body, model, settings.limits, body.add_generation_prompt
        )
    use = _cache_use(body, boundaries, owner.tenant)
    task = Task(ids, READS_ONLY, use=use, keeps_state=True, tenant=owner.tenant)
    return Plan([ids], [task], body.prompt_cache_key, operation="create_state")


def template_of(body: PromptRequest, model: ServedModel) -> Renderer:
    """What renders the messages of a request: after a state they go on with a conversation."""
    return ContinuedTemplate(model.chat_template) if body.state_id else model.chat_template


def _plan(
    body: GenerationRequest,
    prompts: list[list[int]],
    max_tokens: int,
    template_stop: tuple[str, ...],
    boundaries: Boundaries,
    model: ServedModel,
    defaults: SamplingSettings,
    owner: Owner,
) -> Plan:
    _check_ids(body.stop_token_ids, "stop_token_ids", model.tokenizer)
    choices = []
    use = _cache_use(body, boundaries, owner.tenant)
    priority = owner.priority + body.priority
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
            choices.append(Task(ids, params, use=use, tenant=owner.tenant, priority=priority))
    return Plan(prompts, choices, body.prompt_cache_key)


def _cache_use(body: PromptRequest, boundaries: Boundaries, tenant: str) -> CacheUse:
    implicit = body.prompt_cache_options.mode == "implicit"
    if not implicit:
        boundaries = {at: kind for at, kind in boundaries.items() if kind == "breakpoint"}
    keeps = not body.no_cache and (implicit or bool(boundaries))
    return CacheUse(keeps, keeps, cache_salt_of(tenant, body.cache_salt), boundaries, implicit)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


async def _encode_prompts(
    prompts: list[str] | list[list[int]], model: ServedModel, limits: LimitsSettings
) -> list[list[int]]:
    encoded = []
    for prompt in prompts:
        if isinstance(prompt, str):
            ids = await run_encoding(len(prompt), model.tokenizer.encode, prompt)
        else:
            ids = prompt
            _check_ids(ids, "prompt", model.tokenizer)
        _check_length(ids, "prompt", limits)
        encoded.append(ids)
    return encoded


async def _encode_messages(
    body: ChatCompletionRequest | StateRequest,
    model: ServedModel,
    limits: LimitsSettings,
    add_generation_prompt: bool,
) -> tuple[list[int], Boundaries]:
    """The prompt's ids, and after how many of them messages end."""
    messages = [message.as_dict() for message in body.messages]
    size = sum(len(message["content"]) for message in messages)
    breakpoints = [(at, end) for at, each in enumerate(body.messages) for end in each.breakpoints]
    encode = partial(_encode_chat, messages, breakpoints[-MOST_BREAKPOINTS:])
    ids, boundaries = await run_encoding(
        size, encode, template_of(body, model), model.tokenizer, add_generation_prompt
    )
    if not ids and not body.state_id:
        raise ApiError("invalid_value", "messages have no text", "messages")
    _check_length(ids, "messages", limits)
    return ids, boundaries


def _encode_chat(
    messages: list[dict[str, Any]],
    breakpoints: list[tuple[int, int]],
    template: Renderer,
    tokenizer: Tokenizer,
    add_generation_prompt: bool,
) -> tuple[list[int], Boundaries]:
    try:
        text = template.render(messages, add_generation_prompt)
    except TokenizerError as error:  # such as roles in an order that the template refuses
        raise ApiError("invalid_value", str(error), "messages") from None
    ids = tokenizer.encode(text)
    return ids, chat_boundaries(messages, text, ids, template, tokenizer, breakpoints)


async def run_encoding(size: int, encode: Callable[..., T], *args: Any) -> T:
    """Call it here, or in a thread for texts of many characters."""
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
