"""Token counts, as OpenAI reports them."""

from pydantic import BaseModel


class PromptTokensDetails(BaseModel):
    """Of the prompt's tokens, how many came from the state cache, and how many went there."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class CompletionTokensDetails(BaseModel):
    """Of the generated tokens, how many were reasoning."""

    reasoning_tokens: int = 0


class Usage(BaseModel):
    """Tokens of a request; a prompt counts once, however many choices it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()
