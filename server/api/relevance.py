"""How likely a model finds a query after a document, or what a reranker says of both."""

import math
from array import array
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from server.api.call import Owner
from server.api.choices import News
from server.api.encoding import (
    CHARACTERS_OF_A_TEXT,
    check_length,
    encode_beginning,
    encode_text,
    run_encoding,
)
from server.api.errors import ApiError
from server.api.model_kinds import check_scores
from server.api.plan import MOST_LOGPROBS, MOST_PROMPT_LOGPROBS, Plan, cache_use
from server.api.schemas.rerank import ScoringRequest
from server.api.text_threads import breathe
from server.config import Settings
from server.protocol.task import Task
from server.registry.served_model import ServedModel
from server.sampling.params import READS_ONLY, SamplingParams
from server.tokenizer.base import Tokenizer


class Pair(NamedTuple):
    """A query, and the document that it should follow from."""

    query: str
    document: str


class _Encoded(NamedTuple):
    beginning: list[int]
    """All before the query."""
    query: list[int]
    """With the token that ends it, if a reranker reads it."""


class _Words(NamedTuple):
    """What stands around a document, and before a query."""

    before_document: str
    after_document: str
    before_query: str

    def text(self, document: str) -> str:
        """All before the query."""
        return f"{self.before_document}{document}{self.after_document}"


_LIKELIHOOD = _Words("Document: ", "\n\nQuery:", " ")
# As rerankers were trained, and in two parts as EmbeddingRWKV keeps states of documents. No token
# reaches over the line break, so these are the tokens of the whole.
_TRAINED = _Words(
    "Instruct: Given a query, retrieve documents that answer the query\nDocument: ",
    "\n",
    "Query: ",
)


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
    size += CHARACTERS_OF_A_TEXT * len(pairs)
    check_scores(model)
    tasks = await run_encoding(size, _tasks, body, pairs, names, model, settings, owner)
    return Plan(
        [task.prompt_ids for task in tasks],
        tasks,
        key=body.prompt_cache_key,
        operation="rerank",
        at_once=settings.limits.max_choices,
    )


def _tasks(
    body: ScoringRequest,
    pairs: Sequence[Pair],
    names: tuple[str, str],
    model: ServedModel,
    settings: Settings,
    owner: Owner,
) -> list[Task]:
    encoded = _encode(pairs, names, model)
    if not model.reranks:
        _check_queries(encoded, names[0])
    tasks = []
    for index, each in enumerate(encoded):
        ids, start = each.beginning + each.query, len(each.beginning)
        check_length(ids, f"{names[1]}[{index}]", settings.limits)
        # The query's first token follows from the last one of the beginning, which is read for it.
        known = start if model.reranks else start - 1
        use = cache_use(body, {known: "message"}, owner.tenant)
        use = msgspec.structs.replace(use, implicit=False)
        asked = partial(
            Task, ids, use=use, tenant=owner.tenant, priority=owner.priority + body.priority
        )
        if model.reranks:
            tasks.append(asked(READS_ONLY, pooling="state"))
        else:
            tasks.append(asked(_logprobs_from(start)))
        breathe()
    return tasks


def _logprobs_from(start: int) -> SamplingParams:
    return msgspec.structs.replace(
        READS_ONLY, logprobs=0, prompt_logprobs=0, prompt_logprobs_from=start
    )


def _check_queries(encoded: Sequence[_Encoded], param: str) -> None:
    sizes = [len(each.query) for each in encoded]
    if max(sizes) > MOST_PROMPT_LOGPROBS:
        message = f"must have at most {MOST_PROMPT_LOGPROBS} tokens (got {max(sizes)})"
        raise ApiError("invalid_value", f"{param}: {message}; shorten it", param)
    if sum(sizes) > MOST_LOGPROBS:
        message = f"{param} has {sum(sizes)} tokens in all, once for each document; {MOST_LOGPROBS}"
        raise ApiError("invalid_value", f"{message} can be scored", param)


class Relevances:
    """Of each pair the geometric mean of the probabilities of the query's tokens, 0 to 1."""

    def __init__(self, pairs: int) -> None:
        self._logprobs = [array("d") for _ in range(pairs)]

    def add(self, news: News) -> None:
        """Take in what came of a choice."""
        known = (entry.logprobs for entry in news.prompt_logprobs)
        self._logprobs[news.index].extend(each.logprob for each in known if each)

    def scores(self) -> list[float]:
        """In the order of the choices."""
        return [math.exp(math.fsum(found) / len(found)) for found in self._logprobs]


def relevance_of(embedding: bytes) -> float:
    """The probability that a reranker's logit, RequestOutput.embedding, stands for."""
    (logit,) = np.frombuffer(embedding, "<f8").tolist()
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1 + odds)


async def cut_documents(
    documents: list[str], most_tokens: int | None, param: str, tokenizer: Tokenizer
) -> list[str]:
    """Those of more tokens end after so many, without a character that is only begun."""
    if not most_tokens:
        return documents
    size = sum(map(len, documents)) + CHARACTERS_OF_A_TEXT * len(documents)
    return await run_encoding(size, _cut, documents, most_tokens, param, tokenizer)


def _cut(documents: list[str], most_tokens: int, param: str, tokenizer: Tokenizer) -> list[str]:
    found = []
    for text in documents:
        ids = encode_beginning(text, tokenizer, param, most_tokens + 1)
        if len(ids) > most_tokens:
            data = b"".join(map(tokenizer.token_bytes, ids[:most_tokens]))
            text = data.decode(errors="ignore")
        found.append(text)
    return found


def _encode(pairs: Sequence[Pair], names: tuple[str, str], model: ServedModel) -> list[_Encoded]:
    tokenizer, words = model.tokenizer, _TRAINED if model.reranks else _LIKELIHOOD
    end = [model.end_token] if model.end_token is not None else []
    # Apart, so that the beginning is the same whatever is asked.
    queries = {
        query: encode_text(words.before_query + query, tokenizer, names[0]) + end
        for query in {pair.query for pair in pairs}
    }
    return [
        _Encoded(encode_text(words.text(document), tokenizer, names[1]), queries[query])
        for query, document in pairs
    ]
