"""/v1/batches: files of requests that are computed behind everything else."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from server.api.schemas.files import ExpiresAfter
from server.api.schemas.responses import Metadata
from server.api.schemas.validation import Text
from server.stores.batches.records import Batch as BatchRecord

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""What the lines of a batch may be for; the app has routes for them."""


def _check_endpoint(endpoint: str) -> str:
    if endpoint not in ENDPOINTS:
        raise PydanticCustomError(
            "invalid_value", "should be one of {known}", {"known": ", ".join(ENDPOINTS)}
        )
    return endpoint


class BatchRequest(BaseModel):
    """The body of POST /v1/batches."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input_file_id: Text = Field(description="Of a file with the purpose batch.")
    endpoint: Annotated[str, AfterValidator(_check_endpoint)] = Field(
        description=f"What the lines are for: {', '.join(ENDPOINTS)}."
    )
    completion_window: Literal["24h"] = Field(description="Then it expires.")
    metadata: Metadata | None = Field(None, description="Free text that is kept with it.")
    output_expires_after: ExpiresAfter | None = Field(
        None, description="When the files of answers go."
    )


class BatchListQuery(BaseModel):
    """The query of GET /v1/batches."""

    limit: int = Field(20, ge=1, le=100)
    after: str = Field("", description="The id that the page comes after.")


class RequestCounts(BaseModel):
    """Lines, and how many of them were answered without and with an error."""

    total: int
    completed: int
    failed: int


class BatchError(BaseModel):
    """What is wrong with the input file."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchErrors(BaseModel):
    """The first of what is wrong with the input file."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class InputDetails(BaseModel):
    """Of the input."""

    cached_tokens: int


class OutputDetails(BaseModel):
    """Of the output."""

    reasoning_tokens: int


class BatchUsage(BaseModel):
    """Tokens of all lines that were answered."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Batch(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: BatchRecord) -> "Batch":
        """As the API tells of it."""
        errors = [
            BatchError(code=each.code, line=each.line, message=each.message, param=each.param)
            for each in batch.errors
        ]
        times = {f"{status}_at": int(time) for status, time in batch.times.items()}
        return cls(
            id=batch.id,
            endpoint=batch.endpoint,
            model=batch.model or None,
            errors=BatchErrors(data=errors) if errors else None,
            input_file_id=batch.input_file,
            status=batch.status,
            output_file_id=batch.output_file or None,
            error_file_id=batch.error_file or None,
            created_at=int(batch.created),
            expires_at=int(batch.expires),
            request_counts=RequestCounts(
                total=batch.total, completed=batch.completed, failed=batch.failed
            ),
            usage=_usage(batch),
            metadata=batch.metadata,
            **times,
        )


class BatchList(BaseModel):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedBatch(BaseModel):
    """A batch is no more."""

    id: str
    object: Literal["batch"] = "batch"
    deleted: Literal[True] = True


def _usage(batch: BatchRecord) -> BatchUsage:
    tokens = batch.tokens
    return BatchUsage(
        input_tokens=tokens.input,
        input_tokens_details=InputDetails(cached_tokens=tokens.cached),
        output_tokens=tokens.output,
        output_tokens_details=OutputDetails(reasoning_tokens=tokens.reasoning),
        total_tokens=tokens.input + tokens.output,
    )
