"""From a validated request to what the engine is asked: token ids and sampling parameters."""

import secrets
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from server.api.assistant.forced_calls import answer_grammar
from server.api.assistant.form import AnswerForm, Opening
from server.api.conversation import Conversation, conversation_of
from server.api.encoding import Boundaries, encode_messages, encode_prompts
from server.api.errors import ApiError
from server.api.grammar import checked_calls, grammar_of
from server.api.request_metrics import Operation
from server.api.sampling_fields import sampling_params
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.embeddings import EmbeddingRequest
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

MOST_LOGPROBS = 1 << 20
"""That a request may ask for; each takes some 100 bytes until the answer is sent."""

READS_ONLY = SamplingParams(max_tokens=0, seed=0)
"""For a task that takes its prompt in, and no more."""


@dataclass(frozen=True)
class Plan:
    """One HTTP request's work for the engine; choice i of prompt p has the index p × n + i."""

    prompts: list[list[int]]
    choices: list[Task]
    returned: int = 1
    """Of the choices of each prompt, so many are returned: the best ones."""
    echoes: list[str] = field(default_factory=list)
    """The texts of the prompts, if they are to begin the answers; else none."""
    key: str = ""
    """Requests with the same one should go to the same worker."""
    base_tokens: int = 0
    """How many tokens the state has read that all prompts go on from."""
    operation: Operation = "text_completion"
    at_once: int | None = None
    """How many of the choices may run at the same time; None: all."""
    form: AnswerForm | None = None
    """How answers are read; None: as plain text."""

    @property
    def choices_per_prompt(self) -> int:
        """How many are generated, of which n are returned."""
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
    plan = _plan(body, prompts, max_tokens, (), {}, model, settings.sampling, owner, grammar)
    if not body.echo:
        return plan
    texts = [
        prompt if isinstance(prompt, str) else model.tokenizer.decode(prompt)
        for prompt in body.prompt
    ]
    return replace(plan, echoes=texts)


async def plan_chat(
    body: ChatCompletionRequest,
    conversation: Conversation,
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
    ids, boundaries, opening = await encode_messages(
        conversation, model, limits, after_state=bool(body.state_id)
    )
    form = _form(body, conversation, model, opening)
    # Models go on with " {" after "Assistant:", and the content is stripped of it.
    may_begin_with_space = bool(ids) and not model.tokenizer.token_bytes(ids[-1])[-1:].isspace()
    content = await grammar_of(body, checker, may_begin_with_space)
    grammar = answer_grammar(form, conversation.tools, body.tool_choice, content)
    if grammar != content:
        grammar = await checked_calls(grammar, conversation.tools, checker)
    stop = model.chat_template.stop
    plan = _plan(
        body, [ids], max_tokens, stop, boundaries, model, settings.sampling, owner, grammar
    )
    return replace(plan, operation="chat", form=form)


async def plan_state(
    body: StateRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan whose one task leaves a state. Raises ApiError like the others."""
    boundaries: Boundaries = {}
    if body.prompt:
        (ids,) = await encode_prompts(body.prompt, model, settings.limits)
    else:
        conversation = conversation_of(body, model)
        ids, boundaries, _ = await encode_messages(
            conversation, model, settings.limits, after_state=bool(body.state_id)
        )
    use = cache_use(body, boundaries, owner.tenant)
    task = Task(ids, READS_ONLY, use=use, keeps_state=True, tenant=owner.tenant)
    return Plan([ids], [task], key=body.prompt_cache_key, operation="create_state")


async def plan_embeddings(
    body: EmbeddingRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan with a task for each input. Raises ApiError like the others."""
    if body.dimensions is not None and body.dimensions > model.dim:
        raise ApiError(
            "invalid_value", f"dimensions is over the {model.dim} of this model", "dimensions"
        )
    prompts = await encode_prompts(body.input, model, settings.limits, "input")
    if not all(prompts):  # such as NUL characters where a byte is a token
        raise ApiError("invalid_value", "input has a text without tokens", "input")
    use = cache_use(body, {}, owner.tenant)
    reads = use.reads and body.pooling == "last"
    use = msgspec.structs.replace(use, reads=reads, writes=False)
    priority = owner.priority + body.priority
    embed = partial(Task, params=READS_ONLY, use=use, tenant=owner.tenant, priority=priority)
    tasks = [embed(ids, pooling=body.pooling) for ids in prompts]
    at_once = settings.limits.max_choices
    key = body.prompt_cache_key
    return Plan(prompts, tasks, key=key, operation="embeddings", at_once=at_once)


def _form(
    body: ChatCompletionRequest,
    conversation: Conversation,
    model: ServedModel,
    opening: Opening,
) -> AnswerForm:
    reasons = model.reasoning != "off"
    return AnswerForm(
        reasons=reasons,
        opening=opening if reasons else Opening(),
        calls=model.chat_template.call_syntax if conversation.tools else None,
        parallel_calls=body.parallel_tool_calls,
        ends_with_stop=body.tool_choice.mode == "named",
        continued=conversation.continues,
    )


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
    _check_logprobs(body, prompts, max_tokens)
    shared = sampling_params(body, max_tokens, template_stop, model.tokenizer, defaults, grammar)
    choices = []
    use = cache_use(body, boundaries, owner.tenant)
    priority = owner.priority + body.priority
    for ids in prompts:
        # Without a seed equal prompts should differ; with one, a prompt's result must not depend
        # on the prompts beside it.
        seed = secrets.randbits(64) if body.seed is None else body.seed
        for number in range(body.choices):
            params = msgspec.structs.replace(shared, seed=(seed + number) % 2**64)
            choices.append(Task(ids, params, use=use, tenant=owner.tenant, priority=priority))
    return Plan(prompts, choices, body.n, key=body.prompt_cache_key)


def cache_use(body: PromptRequest, boundaries: Boundaries, tenant: str) -> CacheUse:
    """What a request lets its tasks take from the state cache and leave there."""
    implicit = body.prompt_cache_options.mode == "implicit"
    if not implicit:
        boundaries = {at: kind for at, kind in boundaries.items() if kind == "breakpoint"}
    keeps = not body.no_cache and (implicit or bool(boundaries))
    return CacheUse(keeps, keeps, cache_salt_of(tenant, body.cache_salt), boundaries, implicit)


def _check_choices(body: GenerationRequest, prompts: int, limits: LimitsSettings) -> None:
    name = "best_of" if body.choices > body.n else "n"
    if prompts * body.choices > limits.max_choices:
        raise ApiError(
            "invalid_value",
            f"{name} times the number of prompts is over this server's limit of "
            f"{limits.max_choices}",
            name,
        )


def _check_logprobs(body: GenerationRequest, prompts: list[list[int]], max_tokens: int) -> None:
    """All of them are kept until the answer is sent."""
    count = len(prompts) * max_tokens * (1 + body.wanted_logprobs)
    count += sum(map(len, prompts)) * (1 + body.wanted_prompt_logprobs)
    if count * body.choices > MOST_LOGPROBS:
        raise ApiError(
            "invalid_value",
            f"the tokens of all choices may have {MOST_LOGPROBS} log-probabilities in all, and "
            f"could have {count * body.choices}: ask for fewer, or lower max_tokens",
            "logprobs",
        )


def _max_tokens(wanted: int, param: str, limits: LimitsSettings) -> int:
    if wanted > limits.max_output_tokens:
        raise ApiError(
            "invalid_value",
            f"{param} is over this server's limit of {limits.max_output_tokens}",
            param,
        )
    return wanted
