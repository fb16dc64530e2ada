"""From a validated request to what the engine is asked: token ids and sampling parameters."""

import secrets
from dataclasses import dataclass, field, replace

import msgspec

from server.api.bodies.threads import off_loop
from server.api.call import Owner
from server.api.conversation import Conversation, conversation_of
from server.api.encoding import (
    Boundaries,
    PromptTokens,
    encode_messages,
    encode_prompts,
    run_encoding,
    text_as_json,
)
from server.api.errors import ApiError
from server.api.filling import Gap, encode_gaps
from server.api.grammar import grammar_of, grammar_of_answer
from server.api.model_kinds import check_writes_text
from server.api.sampling_fields import ends_of_chat, sampling_params
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.generation import NO_LIMIT, GenerationRequest
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.states import StateRequest
from server.api.states import StateContent
from server.api.tenant import cache_salt_of
from server.assistant.forced_calls import holds_calls
from server.assistant.form import AnswerForm, Opening
from server.config import LimitsSettings, SamplingSettings, Settings
from server.grammars.checker import GrammarChecker
from server.json_pieces import JsonText
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.registry.served_model import ServedModel
from server.sampling.params import READS_ONLY
from server.telemetry.request_metrics import Operation
from server.tokenizer.base import Tokenizer
from server.tokenizer.fill_in_middle import MARKERS
from server.tokenizer.turn_ends import TurnEnds

MOST_LOGPROBS = 1 << 20
"""That a request may ask for; each takes some 100 bytes until the answer is sent."""
MOST_PROMPT_LOGPROBS = 1 << 16
"""Of them, those of prompts: they come from a worker in one message."""


@dataclass(frozen=True)
class Plan:
    """One HTTP request's work for the engine; choice i of prompt p has the index p × n + i."""

    prompts: list[list[int]]
    choices: list[Task]
    returned: int = 1
    """Of the choices of each prompt, so many are returned: the best ones."""
    echoes: list[JsonText] = field(default_factory=list)
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
    gap: Gap | None = None,
) -> Plan:
    """Raises ApiError when the request asks for something that this model or server has not.

    With a gap, or a suffix, the prompts are completed until what follows them.
    """
    limits = settings.limits
    check_writes_text(model)
    _check_choices(body, len(body.prompt), limits)
    max_tokens = _max_tokens(body.max_tokens, "max_tokens", limits)
    gap = gap or (Gap(body.suffix) if body.suffix else None)
    if gap is None:
        prompts = await _continued(body, model, limits)
    else:
        prompts = await encode_gaps(body.prompt, gap, model, limits)
    ends = TurnEnds() if gap is None else TurnEnds(texts=MARKERS)
    grammar = await grammar_of(body, checker)
    plan = _plan(body, prompts, max_tokens, ends, model, settings.sampling, owner, grammar)
    if not body.echo:
        return plan
    size = sum(map(len, body.prompt))
    return replace(plan, echoes=await run_encoding(size, _texts, body.prompt, model.tokenizer))


async def _continued(
    body: CompletionRequest, model: ServedModel, limits: LimitsSettings
) -> list[PromptTokens]:
    prompts = await encode_prompts(body.prompt, model, limits)
    if not body.state_id:  # what begins a document is the token that ends one
        prompts = [ids or [model.tokenizer.eos_id] for ids in prompts]
    return [PromptTokens(ids, {}) for ids in prompts]


def _texts(prompts: list[str] | list[list[int]], tokenizer: Tokenizer) -> list[JsonText]:
    return [text_as_json(prompt, tokenizer) for prompt in prompts]


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
    check_writes_text(model)
    _check_choices(body, 1, limits)
    if body.max_completion_tokens is not None:
        max_tokens = _max_tokens(body.max_completion_tokens, "max_completion_tokens", limits)
    else:
        wanted = body.max_tokens or min(limits.default_output_tokens, limits.max_output_tokens)
        max_tokens = _max_tokens(wanted, "max_tokens", limits)
    ids, boundaries, opening = await encode_messages(
        conversation, model, limits, bool(body.state_id), _space(body, owner)
    )
    form = _form(body, conversation, model, opening)
    # Models go on with " {" after "Assistant:", and the content is stripped of it.
    may_begin_with_space = bool(ids) and not model.tokenizer.token_bytes(ids[-1])[-1:].isspace()
    content = await grammar_of(body, checker, may_begin_with_space)
    grammar = await grammar_of_answer(form, conversation.tools, body.tool_choice, content, checker)
    if form.must_call:
        # Stop strings are of what the assistant says; arguments that they cut would be no JSON.
        body = body.model_copy(update={"stop": []})
    ends = ends_of_chat(body, model)
    prompts = [PromptTokens(ids, boundaries)]
    plan = _plan(body, prompts, max_tokens, ends, model, settings.sampling, owner, grammar)
    return replace(plan, operation="chat", form=form)


async def plan_state(
    body: StateRequest, size: int, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan whose one task leaves a state; `size` is that of the body. Raises ApiError as well."""
    check_writes_text(model)
    boundaries: Boundaries = {}
    if body.prompt:
        (ids,) = await encode_prompts(body.prompt, model, settings.limits)
    else:
        conversation = await off_loop(size, conversation_of, body, model)
        ids, boundaries, _ = await encode_messages(
            conversation, model, settings.limits, bool(body.state_id), _space(body, owner)
        )
    use = cache_use(body, boundaries, owner.tenant)
    task = Task(ids, READS_ONLY, use=use, keeps_state=True, tenant=owner.tenant)
    return Plan([ids], [task], key=body.prompt_cache_key, operation="create_state")


def _form(
    body: ChatCompletionRequest,
    conversation: Conversation,
    model: ServedModel,
    opening: Opening,
) -> AnswerForm:
    reasons = model.reasoning != "off"
    tools, choice = conversation.tools, body.tool_choice
    calls = model.chat_template.call_syntax if tools else None
    names = choice.names or [tool["function"]["name"] for tool in tools]
    return AnswerForm(
        reasons=reasons,
        opening=opening if reasons else Opening(),
        calls=calls,
        parallel_calls=body.parallel_tool_calls,
        ends_with_stop=choice.mode == "named",
        continued=conversation.continues,
        wants_reasoning=conversation.wants_reasoning,
        must_call=calls is not None and choice.forces,
        tool_names=(*names, *(() if choice.names else conversation.further_names)),
        holds_calls=holds_calls(tools, choice, body.output is not None),
    )


def _plan(
    body: GenerationRequest,
    encoded: list[PromptTokens],
    max_tokens: int,
    ends: TurnEnds,
    model: ServedModel,
    defaults: SamplingSettings,
    owner: Owner,
    grammar: str,
) -> Plan:
    prompts = [prompt.ids for prompt in encoded]
    _check_logprobs(body, prompts, max_tokens)
    shared = sampling_params(body, max_tokens, ends, model.tokenizer, defaults, grammar)
    choices = []
    priority = owner.priority + body.priority
    for ids, boundaries in encoded:
        use = cache_use(body, boundaries, owner.tenant)
        # Without a seed equal prompts should differ; with one, a prompt's result must not depend
        # on the prompts beside it.
        seed = secrets.randbits(64) if body.seed is None else body.seed
        for number in range(body.choices):
            params = msgspec.structs.replace(shared, seed=(seed + number) % 2**64)
            choices.append(Task(ids, params, use=use, tenant=owner.tenant, priority=priority))
    return Plan(prompts, choices, body.n, key=body.prompt_cache_key)


def _space(body: PromptRequest, owner: Owner) -> str | None:
    """Within which the request shares encoded beginnings; None: it shares none."""
    return None if body.no_cache else cache_salt_of(owner.tenant, body.cache_salt)


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
    of_prompts = sum(map(len, prompts)) * (1 + body.wanted_prompt_logprobs)
    if of_prompts * body.choices > MOST_PROMPT_LOGPROBS:
        raise ApiError(
            "invalid_value",
            f"logprobs: must be at most {MOST_PROMPT_LOGPROBS} in all for tokens of prompts (got "
            f"{of_prompts * body.choices}); ask for fewer, or send the prompt in parts",
            "logprobs",
        )
    count = of_prompts + len(prompts) * max_tokens * (1 + body.wanted_logprobs)
    if count * body.choices > MOST_LOGPROBS:
        raise ApiError(
            "invalid_value",
            f"the tokens of all choices may have {MOST_LOGPROBS} log-probabilities in all, and "
            f"could have {count * body.choices}: ask for fewer, or lower max_tokens",
            "logprobs",
        )


def _max_tokens(wanted: int, param: str, limits: LimitsSettings) -> int:
    if wanted == NO_LIMIT:
        return limits.max_output_tokens
    if wanted > limits.max_output_tokens:
        raise ApiError(
            "invalid_value",
            f"{param} is over this server's limit of {limits.max_output_tokens}",
            param,
        )
    return wanted
