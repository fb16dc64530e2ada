"""What a model is asked for that another kind of model does."""

from server.api.errors import ApiError
from server.registry.served_model import ServedModel


def check_writes_text(model: ServedModel) -> None:
    """Raise ApiError for an embedding model."""
    if model.embeds:
        raise _refused(model, "has no head for text; use /v1/embeddings, or name a language model")


def check_scores(model: ServedModel) -> None:
    """Raise ApiError for an embedding model without a reranker."""
    if model.embeds and not model.reranks:
        raise _refused(model, "scores nothing without its reranker; serve it with --reranker FILE")


def _refused(model: ServedModel, why: str) -> ApiError:
    return ApiError("invalid_value", f"model: {model.spec.id} gives embeddings and {why}", "model")
