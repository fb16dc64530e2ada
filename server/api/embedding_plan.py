"""From a validated request for embeddings to what the engine is asked."""

from functools import partial

import msgspec

from server.api.call import Owner
from server.api.encoding import check_length, encode_prompts
from server.api.errors import ApiError
from server.api.plan import Plan, cache_use
from server.api.schemas.embeddings import EmbeddingRequest
from server.config import Settings
from server.protocol.task import Pooling, Task
from server.registry.served_model import ServedModel
from server.sampling.params import READS_ONLY

_HEADS = {
    "": "retrieval",
    "retrieval": "retrieval",
    "retrieval.query": "retrieval",
    "retrieval.passage": "retrieval",
    "similarity": "similarity",
    "text-matching": "similarity",
    "classification": "classification",
    "separation": "classification",
}
"""Task → head of an embedding model, also by Jina's names of tasks; as its evaluation has it."""


async def plan_embeddings(
    body: EmbeddingRequest, model: ServedModel, settings: Settings, owner: Owner
) -> Plan:
    """A plan with a task for each input. Raises ApiError like the others."""
    if body.dimensions is not None and body.dimensions > model.dim:
        raise ApiError(
            "invalid_value", f"dimensions is over the {model.dim} of this model", "dimensions"
        )
    pooling, head = _pooling(body, model)
    prompts = await encode_prompts(body.input, model, settings.limits, "input")
    if not all(prompts):  # such as NUL characters where a byte is a token
        raise ApiError("invalid_value", "input has a text without tokens", "input")
    if model.end_token is not None:
        prompts = [_ended(ids, model.end_token) for ids in prompts]
        for ids in prompts:
            check_length(ids, "input", settings.limits)
    use = cache_use(body, {}, owner.tenant)
    use = msgspec.structs.replace(use, reads=use.reads and pooling != "mean", writes=False)
    priority = owner.priority + body.priority
    embed = partial(Task, params=READS_ONLY, use=use, tenant=owner.tenant, priority=priority)
    tasks = [embed(ids, pooling=pooling, head=head) for ids in prompts]
    at_once = settings.limits.max_choices
    return Plan(prompts, tasks, key=body.prompt_cache_key, operation="embeddings", at_once=at_once)


def _pooling(body: EmbeddingRequest, model: ServedModel) -> tuple[Pooling, str]:
    """Which hidden states make the vector, and by which head."""
    if not model.embeds:
        return body.pooling or "mean", ""
    if body.pooling is not None:
        why = f"pooling: {model.spec.id} has a pooling of its own (got {body.pooling!r})"
        raise ApiError("invalid_value", f"{why}; leave it out", "pooling")
    if body.task not in _HEADS:
        names = ", ".join(filter(None, _HEADS))
        why = f"task: must be one of {names} (got {body.task[:80]!r})"
        raise ApiError("invalid_value", why, "task")
    return "ends", _HEADS[body.task]


def _ended(ids: list[int], end: int) -> list[int]:
    return ids if ids[-1] == end else [*ids, end]
