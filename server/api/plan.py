"""From a validated request to what the engine is asked: token ids and sampling parameters."""

import secrets
from dataclasses import dataclass, replace

import msgspec

from server.api.encoding import Boundaries, check_ids, encode_messages, encode_prompts
from server.api.errors import ApiError
from server.api.grammar import grammar_of
from server.api.request_metrics import Operation
from server.api.sampling_fields import sampling_params
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.states import StateRequest
from server.api.states import StateContent
from server.api.tenant import Owner, cache_salt_of
from server.config import LimitsSettings, SamplingSettings, Settings
from server.grammars.checker import GrammarChecker
from server.registry.served_model import ServedModel
from server.sampling.params import SamplingParams
from server.workers.messages import CacheUse, Task

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
    body: CompletionRequest,
    model: ServedModel,
    settings: Settings,
    owner: Owner,
    checker: GrammarChecker,
) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, len(body.prompt), limits)
    max_tokens = _max_tokens(body.max_tokens, "max_tokens", limits)
    prompts = await encode_prompts(body.prompt, model, limits)
    grammar = await grammar_of(body, checker)
    return _plan(body, prompts, max_tokens, (), {}, model, settings.sampling, owner, grammar)


async def plan_chat(
    body: ChatCompletionRequest,
    model: ServedModel,
    settings: Settings,
    owner: Owner,
    checker: GrammarChecker,
) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not."""
    limits = settings.limits
    _check_choices(body, 1, limits)
    if body.max_completion_tokens is not None:
        max_tokens = _max_tokens(body.max_completion_tokens, "max_completion_tokens", limits)
    else:
        wanted = body.max_tokens or min(limits.default_output_tokens, limits.max_output_tokens)
        max_tokens = _max_tokens(wanted, "max_tokens", limits)
    ids, boundaries = await encode_messages(body, model, limits, add_generation_prompt=True)
    # Models go on with " {" after "Assistant:", and the content is stripped of it.
    may_begin_with_space = bool(ids) and not model.tokenizer.token_bytes(ids[-1])[-1:].isspace()
    grammar = await grammar_of(body, checker, may_begin_with_space)
    stop = model.chat_template.stop
    plan = _plan(
        body, [ids], max_tokens, stop, boundaries, model, settings.sampling, owner, grammar
    )
    return replace(plan, operation="chat")


async def plan_state(
    body: StateRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan whose one task leaves a state. Raises ApiError like the others."""
    boundaries: Boundaries = {}
    if body.prompt:
        (ids,) = await encode_prompts(body.prompt, model, settings.limits)
    else:
        ids, boundaries = await encode_messages(
            body, model, settings.limits, body.add_generation_prompt
        )
    use = _cache_use(body, boundaries, owner.tenant)
    task = Task(ids, READS_ONLY, use=use, keeps_state=True, tenant=owner.tenant)
    return Plan([ids], [task], body.prompt_cache_key, operation="create_state")


def _plan(
    body: GenerationRequest,
    prompts: list[list[int]],
    max_tokens: int,
    template_stop: tuple[str, ...],
    boundaries: Boundaries,
    model: ServedModel,
    defaults: SamplingSettings,
    owner: Owner,
    grammar: str,
) -> Plan:
    check_ids(body.stop_token_ids, "stop_token_ids", model.tokenizer)
    shared = sampling_params(body, max_tokens, template_stop, model.tokenizer, defaults, grammar)
    choices = []
    use = _cache_use(body, boundaries, owner.tenant)
    priority = owner.priority + body.priority
    for ids in prompts:
        # Without a seed equal prompts should differ; with one, a prompt's result must not depend
        # on the prompts beside it.
        seed = secrets.randbits(64) if body.seed is None else body.seed
        for number in range(body.n):
            params = msgspec.structs.replace(shared, seed=(seed + number) % 2**64)
            choices.append(Task(ids, params, use=use, tenant=owner.tenant, priority=priority))
    return Plan(prompts, choices, body.prompt_cache_key)


def _cache_use(body: PromptRequest, boundaries: Boundaries, tenant: str) -> CacheUse:
    implicit = body.prompt_cache_options.mode == "implicit"
    if not implicit:
        boundaries = {at: kind for at, kind in boundaries.items() if kind == "breakpoint"}
    keeps = not body.no_cache and (implicit or bool(boundaries))
    return CacheUse(keeps, keeps, cache_salt_of(tenant, body.cache_salt), boundaries, implicit)


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
