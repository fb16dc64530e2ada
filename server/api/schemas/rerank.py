"""/v1/rerank and /v1/score: texts in, how well each goes with a query out."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    FailFast,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    model_validator,
)

from server.api.schemas.peer_fields import SCORE_NAMES
from server.api.schemas.prompt import PromptRequest, Unsupported
from server.api.schemas.usage import PromptTokensDetails
from server.api.schemas.validation import Text, check_unicode, invalid

MOST_DOCUMENTS = 1000
"""Of a request, as Cohere advises."""


class TextDocument(BaseModel):
    """A document in the form of an object; what else it has is ignored."""

    text: str


def _as_documents(value: Any) -> list[str]:
    """The texts, without a union's error for every member."""
    if not isinstance(value, list) or not value:
        raise invalid("should be a list of at least one document")
    if len(value) > MOST_DOCUMENTS:
        raise invalid("should be at most 1000 documents")
    return [_text_of(each, f"documents[{index}]") for index, each in enumerate(value)]


def _text_of(document: Any, at: str) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise invalid("should be a string, or an object with a string in text", at)
    try:
        return check_unicode(text)
    except ValueError:
        raise invalid("should be valid Unicode, without lone surrogates", at) from None


Documents = Annotated[
    list[str], PlainValidator(_as_documents, json_schema_input_type=list[str | TextDocument])
]


class ScoringRequest(PromptRequest):
    """Fields of both."""

    unsupported: ClassVar[Unsupported] = {
        "truncate_prompt_tokens": lambda fields: fields.get("truncate_prompt_tokens") is not None,
    }

    max_tokens_per_doc: int | None = Field(
        None,
        ge=0,
        description="Longer documents are cut after so many tokens; none if absent or 0.",
    )
    priority: int = Field(0, ge=0, le=1000, description="Requests of a lower one go first.")


class RerankRequest(ScoringRequest):
    """The body of POST /v1/rerank, in Jina's and in Cohere's words."""

    unsupported: ClassVar[Unsupported] = ScoringRequest.unsupported | {
        "rank_fields": lambda fields: bool(fields.get("rank_fields")),
        "max_chunks_per_doc": lambda fields: fields.get("max_chunks_per_doc") is not None,
    }

    query: Text = Field(min_length=1, description="What the documents are sorted by.")
    documents: Documents = Field(description="Texts, or objects with one in `text`.")
    top_n: int | None = Field(None, ge=1, description="So many results, the best; all if absent.")
    return_documents: bool = Field(False, description="Give each result the text that was scored.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[
    list[Text],
    FailFast(),
    Field(min_length=1, max_length=MOST_DOCUMENTS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


def _name_of(field: str, fields: dict[str, Any]) -> str:
    """Which one is in the request. Raises a validation error for two that differ."""
    given = [name for name in SCORE_NAMES[field] if fields.get(name) is not None]
    for name in given[1:]:
        if fields[name] != fields[given[0]]:
            raise invalid(f"should not be given together with {given[0]}", name)
    return given[0] if given else field


class ScoreRequest(ScoringRequest):
    """The body of POST /v1/score, in vLLM's words: a query with each text, or pairs."""

    text_1: Texts = Field(
        description="The query, or a query for each of text_2; also as queries or data_1."
    )
    text_2: Texts = Field(
        description="What rerank calls documents; also as documents, items or data_2."
    )
    _names: tuple[str, str] = PrivateAttr(("text_1", "text_2"))

    @model_validator(mode="wrap")
    @classmethod
    def _take_names(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(fields, dict):
            return handler(fields)
        names = (_name_of("text_1", fields), _name_of("text_2", fields))
        given = {"text_1": fields.get(names[0]), "text_2": fields.get(names[1])}
        request = handler(fields | given)
        request._names = names
        return request

    @property
    def names(self) -> tuple[str, str]:
        """What the client calls text_1 and text_2."""
        return self._names

    unsupported: ClassVar[Unsupported] = ScoringRequest.unsupported | {
        "label_token_ids": lambda fields: bool(fields.get("label_token_ids")),
    }

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if len(self.text_1) not in (1, len(self.text_2)):
            raise invalid("should be one text, or as many as text_2", "text_1")
        if not all(self.text_1):
            raise invalid("should not be empty", "text_1")
        return self


class ScoringUsage(BaseModel):
    """Tokens of all documents, each with the query; nothing is generated."""

    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ScoredDocument(BaseModel):
    """What was scored of a document."""

    text: str


class RerankResult(BaseModel):
    """One document; `index` is its place in the request."""

    index: int
    relevance_score: float
    document: ScoredDocument | None = None
    """Absent unless it was asked for."""


class Rerank(BaseModel):
    """The answer of POST /v1/rerank."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RerankResult]
    """The highest score first; of equals the lowest index."""
    usage: ScoringUsage


class Score(BaseModel):
    """One pair."""

    object: Literal["score"] = "score"
    index: int
    score: float


class ScoreList(BaseModel):
    """The answer of POST /v1/score."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: ScoringUsage
