"""How well texts follow another one: what /v1/chooses ranks by."""

import math
from array import array

import msgspec

from server.api.call import Owner
from server.api.choices import News
from server.api.encoding import CHARACTERS_OF_A_TEXT, check_length, encode_text, run_encoding
from server.api.errors import ApiError
from server.api.plan import MOST_PROMPT_LOGPROBS, Plan, cache_use
from server.api.schemas.chooses import ChooseRequest
from server.config import Settings
from server.protocol.task import Task
from server.registry.served_model import ServedModel
from server.sampling.params import READS_ONLY
from server.tokenizer.base import Tokenizer


async def plan_choices(
    body: ChooseRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A task for each choice after the input; to calibrate, then one for each by itself.

    Raises ApiError when there are too many tokens.
    """
    size = len(body.input) + sum(map(len, body.choices))
    size += CHARACTERS_OF_A_TEXT * len(body.choices)
    tasks = await run_encoding(size, _tasks, body, model.tokenizer, settings, owner)
    return Plan(
        [task.prompt_ids for task in tasks],
        tasks,
        key=body.prompt_cache_key,
        operation="rerank",
        at_once=settings.limits.max_choices,
    )


def _tasks(
    body: ChooseRequest, tokenizer: Tokenizer, settings: Settings, owner: Owner
) -> list[Task]:
    most = settings.limits.max_prompt_tokens
    # Apart, as there: a token is not of both.
    before = encode_text(body.input, tokenizer, "input", most) or [tokenizer.eos_id]
    choices = [encode_text(text, tokenizer, "choices", most) for text in body.choices]
    if not all(choices):
        raise ApiError("invalid_value", "choices has a text without tokens", "choices")
    if sum(map(len, choices)) > MOST_PROMPT_LOGPROBS:
        message = f"choices: must have at most {MOST_PROMPT_LOGPROBS} tokens in all; shorten them"
        raise ApiError("invalid_value", message, "choices")
    begun = [(before, ids) for ids in choices]
    if body.calibrate:
        begun += [([tokenizer.eos_id], ids) for ids in choices]
    tasks = []
    for beginning, ids in begun:
        check_length(beginning + ids, "input", settings.limits)
        # One token earlier: the first one of the choice follows from the last one of the input.
        use = cache_use(body, {len(beginning) - 1: "message"}, owner.tenant)
        use = msgspec.structs.replace(use, implicit=False)
        params = msgspec.structs.replace(
            READS_ONLY, logprobs=0, prompt_logprobs=0, prompt_logprobs_from=len(beginning)
        )
        priority = owner.priority + body.priority
        tasks.append(Task(beginning + ids, params, use=use, tenant=owner.tenant, priority=priority))
    return tasks


class Perplexities:
    """Of each choice the mean negative log-probability of its tokens, the lowest is the best."""

    def __init__(self, choices: int, calibrate: bool) -> None:
        self._choices = choices
        self._calibrate = calibrate
        self._logprobs = [array("d") for _ in range(choices * (1 + calibrate))]

    def add(self, news: News) -> None:
        """Take in what came of a task."""
        known = (entry.logprobs for entry in news.prompt_logprobs)
        self._logprobs[news.index].extend(each.logprob for each in known if each)

    def values(self) -> list[float]:
        """In the order of the choices."""
        found = [-math.fsum(each) / len(each) for each in self._logprobs[: self._choices]]
        if self._calibrate:
            alone = self._logprobs[self._choices :]
            # By one more, as there: the token that begins a document counts.
            found = [
                value + math.fsum(each) / (len(each) + 1)
                for value, each in zip(found, alone, strict=True)
            ]
        return found
