"""Texts and token ids of a model, without computing anything with it."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from server.api.conversation import Conversation, conversation_of
from server.api.dependencies import ServiceDependency
from server.api.encoding import check_ids, prompt_of, run_encoding
from server.api.errors import ApiError
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.tokens import (
    MOST_CHARACTERS,
    ApplyTemplateRequest,
    ApplyTemplateResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)
from server.registry.served_model import ServedModel
from server.tokenizer.base import Tokenizer
from server.tokenizer.token_text import (
    decode_with_names,
    encode_with_names,
    token_piece,
    token_text,
)

NO_LIMIT = 2**31 - 1
"""The longest prompt where there is no bound: clients expect a number."""

router = APIRouter(tags=["tokens"], responses=ERROR_RESPONSES)


@router.post("/tokenize", response_model=TokenizeResponse)
@router.post("/v1/tokenize", response_model=TokenizeResponse)
async def tokenize(body: TokenizeRequest, request: Request, service: ServiceDependency) -> Response:
    """The ids of a text, or of the prompt that messages make."""
    model = service.route(request, body.model).served
    limit = service.settings_for(request).limits.max_prompt_tokens or NO_LIMIT
    conversation = conversation_of(body, model) if body.messages else None
    size = len(body.prompt or body.content or "")
    size = conversation.characters if conversation else size
    content = await run_encoding(size, _tokenize, body, conversation, model, limit)
    return Response(content, media_type="application/json")


@router.post("/detokenize")
@router.post("/v1/detokenize")
async def detokenize(
    body: DetokenizeRequest, request: Request, service: ServiceDependency
) -> DetokenizeResponse:
    """The text of ids."""
    tokenizer = service.route(request, body.model).served.tokenizer
    check_ids(body.tokens, "tokens", tokenizer)
    text = await run_encoding(len(body.tokens), decode_with_names, body.tokens, tokenizer)
    return DetokenizeResponse(prompt=text, content=text)


@router.post("/apply-template")
@router.post("/v1/apply-template")
async def apply_template(
    body: ApplyTemplateRequest, request: Request, service: ServiceDependency
) -> ApplyTemplateResponse:
    """The prompt that messages make."""
    conversation = conversation_of(body, service.route(request, body.model).served)
    text = await run_encoding(conversation.characters, prompt_of, conversation)
    return ApplyTemplateResponse(prompt=text)


@router.get("/tokenizer_info")
@router.get("/v1/tokenizer_info")
async def tokenizer_info(
    request: Request, service: ServiceDependency, model: str = ""
) -> TokenizerInfo:
    """What a client needs to know to write prompts itself."""
    route = service.route(request, model)
    tokenizer, template = route.served.tokenizer, route.served.chat_template
    return TokenizerInfo(
        model=route.id,
        tokenizer_class=type(tokenizer).__name__,
        vocab_size=tokenizer.vocab_size,
        eos_token=token_text(tokenizer.eos_id, tokenizer),
        eos_token_id=tokenizer.eos_id,
        bos_token=template.bos_token or None,
        special_tokens=dict(tokenizer.special_tokens),
        model_max_length=service.settings_for(request).limits.max_prompt_tokens or NO_LIMIT,
        chat_template=template.source,
    )


def _tokenize(
    body: TokenizeRequest, conversation: Conversation | None, model: ServedModel, limit: int
) -> bytes:
    """The answer as JSON. Raises ApiError."""
    text = body.prompt or body.content or ""
    if conversation is not None:
        text = prompt_of(conversation)
        if len(text) > MOST_CHARACTERS:
            message = f"messages make a text of more than {MOST_CHARACTERS} characters"
            raise ApiError("invalid_value", message, "messages")
    ids = _encode(text, body.parse_special, model.tokenizer)
    answer = {"count": len(ids), "max_model_len": limit, "tokens": ids, "token_strs": None}
    if body.with_pieces:
        pieces = {each: token_piece(each, model.tokenizer) for each in set(ids)}
        answer["tokens"] = _list_of(
            {i: {"id": i, "piece": piece} for i, piece in pieces.items()}, ids
        )
    if body.return_token_strs:
        answer["token_strs"] = _list_of({i: token_text(i, model.tokenizer) for i in set(ids)}, ids)
    return msgspec.json.encode(answer)


def _encode(text: str, parse_special: bool, tokenizer: Tokenizer) -> list[int]:
    # Clients ask for the id of the token that ends a document by its name alone.
    if parse_special or text in tokenizer.special_tokens:
        return encode_with_names(text, tokenizer)
    return tokenizer.encode(text)


def _list_of(values: dict[int, Any], ids: list[int]) -> msgspec.Raw:
    """The value of each id as JSON, without an object for every one of a million tokens."""
    encoded = {token_id: msgspec.json.encode(value) for token_id, value in values.items()}
    return msgspec.Raw(b"[" + b",".join(encoded[token_id] for token_id in ids) + b"]")
