"""How likely a model finds a query after a document: what reranking sorts by."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.api.choices import GeneratedChoice
from server.api.encoding import check_length, run_encoding
from server.api.errors import ApiError
from server.api.plan import MOST_LOGPROBS, READS_ONLY, Plan, cache_use
from server.api.schemas.rerank import ScoringRequest
from server.api.tenant import Owner
from server.config import Settings
from server.registry.served_model import ServedModel
from server.tokenizer.base import Tokenizer
from server.workers.messages import Task


class Pair(NamedTuple):
    """A query, and the document that it should follow from."""

    query: str
    document: str


class _Encoded(NamedTuple):
    beginning: list[int]
    """All before the query."""
    query: list[int]


async def plan_relevance(
    body: ScoringRequest,
    pairs: Sequence[Pair],
    names: tuple[str, str],
    model: ServedModel,
    settings: Settings,
    owner: Owner,
) -> Plan:
    """A plan with a task for each pair. `names` are the fields of queries and documents.

    Raises ApiError when there are too many tokens.
    """
    size = sum(len(pair.query) + len(pair.document) for pair in pairs)
    encoded = await run_encoding(size, _encode, pairs, model.tokenizer)
    wanted = sum(len(each.query) for each in encoded)
    if wanted > MOST_LOGPROBS:
        message = f"{names[0]} has {wanted} tokens in all, once for each document; {MOST_LOGPROBS} "
        raise ApiError("invalid_value", message + "can be scored", names[0])
    tasks = []
    for index, (beginning, query) in enumerate(encoded):
        ids = beginning + query
        check_length(ids, f"{names[1]}[{index}]", settings.limits)
        # One token earlier than the query begins: its first token follows from the last one there.
        use = cache_use(body, {len(beginning) - 1: "message"}, owner.tenant)
        use = msgspec.structs.replace(use, implicit=False)
        start = len(beginning)
        params = msgspec.structs.replace(
            READS_ONLY, logprobs=0, prompt_logprobs=0, prompt_logprobs_from=start
        )
        priority = owner.priority + body.priority
        tasks.append(Task(ids, params, use=use, tenant=owner.tenant, priority=priority))
    return Plan(
        [task.prompt_ids for task in tasks],
        tasks,
        key=body.prompt_cache_key,
        operation="rerank",
        at_once=settings.limits.max_choices,
    )


def relevance(choice: GeneratedChoice) -> float:
    """The geometric mean of the probabilities of the query's tokens, 0 to 1."""
    found = [entry.logprobs.logprob for entry in choice.prompt_logprobs if entry.logprobs]
    return math.exp(math.fsum(found) / len(found))


async def cut_documents(
    documents: list[str], most_tokens: int | None, tokenizer: Tokenizer
) -> list[str]:
    """Those of more tokens end after so many, without a character that is only begun."""
    if most_tokens is None:
        return documents
    size = sum(map(len, documents))
    return await run_encoding(size, _cut, documents, most_tokens, tokenizer)


def _cut(documents: list[str], most_tokens: int, tokenizer: Tokenizer) -> list[str]:
    found = []
    for text in documents:
        ids = tokenizer.encode(text)
        if len(ids) > most_tokens:
            data = b"".join(map(tokenizer.token_bytes, ids[:most_tokens]))
            text = data.decode(errors="ignore")
        found.append(text)
    return found


def _encode(pairs: Sequence[Pair], tokenizer: Tokenizer) -> list[_Encoded]:
    # Apart, so that the beginning is the same whatever is asked.
    queries = {pair.query: tokenizer.encode(f" {pair.query}") for pair in pairs}
    return [
        _Encoded(tokenizer.encode(f"Document: {document}\n\nQuery:"), queries[query])
        for query, document in pairs
    ]
