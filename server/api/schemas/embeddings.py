"""/v1/embeddings: texts in, a vector for each out."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, PlainValidator, ValidationInfo

from server.api.schemas.completions import PromptInput, as_prompts
from server.api.schemas.peer_fields import in_use
from server.api.schemas.prompt import PromptRequest, Unsupported
from server.api.schemas.validation import Text, invalid

MOST_INPUTS = 2048
"""Of a request, as with OpenAI."""


def as_inputs(value: Any, info: ValidationInfo) -> list[str] | list[list[int]]:
    """The inputs of a request, none of which is empty; for PlainValidator."""
    inputs = as_prompts(value, info)
    if not inputs or not all(inputs):
        raise invalid("should not be empty")
    if len(inputs) > MOST_INPUTS:
        raise invalid("should be at most 2048 inputs")
    return inputs


class EmbeddingRequest(PromptRequest):
    """The body of POST /v1/embeddings."""

    unsupported: ClassVar[Unsupported] = {
        "truncate_prompt_tokens": lambda fields: fields.get("truncate_prompt_tokens") is not None,
        "fast_mode": in_use("fast_mode"),
        "embed_dtype": lambda fields: fields.get("embed_dtype") not in (None, "float32"),
    }

    input: Annotated[
        list[str] | list[list[int]],
        PlainValidator(as_inputs, json_schema_input_type=PromptInput),
    ] = Field(description="Text or token ids, or a list of either; none empty.")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`base64`: of float32 in little-endian order."
    )
    dimensions: int | None = Field(
        None, ge=1, description="The first so many, at most the model's width; all if absent."
    )
    pooling: Literal["mean", "last"] | None = Field(
        None,
        description="Mean of the hidden states of all tokens (default), or the last token's; an "
        "embedding model has its own pooling.",
    )
    task: Text = Field(
        "",
        max_length=256,
        description="What an embedding model's vectors are for: retrieval (default), similarity or "
        "classification, or Jina's name of it. Language models ignore it.",
    )
    normalize: bool = Field(True, description="Give each vector, when it is cut, the length 1.")
    priority: int = Field(0, ge=0, le=1000, description="Requests of a lower one go first.")


class Embedding(BaseModel):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of all inputs; nothing is generated."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The answer of POST /v1/embeddings."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
