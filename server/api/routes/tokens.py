"""Texts and token ids of a model, without computing anything with it."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from server.api.access import admitted
from server.api.bodies.route import JsonRoute
from server.api.bodies.threads import body_bytes, off_loop
from server.api.conversation import conversation_of
from server.api.dependencies import ServiceDependency
from server.api.encoding import check_ids, encode_beginning, prompt_of, run_encoding
from server.api.errors import ApiError
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.tokens import (
    MOST_CHARACTERS,
    MOST_TEXT_BYTES,
    MOST_TOKEN_TEXTS,
    MOST_TOKENS,
    ApplyTemplateRequest,
    ApplyTemplateResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)
from server.api.text_threads import breathe
from server.tokenizer.base import Tokenizer
from server.tokenizer.template_text import plain
from server.tokenizer.token_text import (
    names_of_special,
    split_at_names,
    token_piece,
    token_text,
)

NO_LIMIT = 2**31 - 1
"""The longest prompt where there is no bound: clients expect a number."""

_IDS_AT_ONCE = 16 << 10

router = APIRouter(tags=["tokens"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/tokenize", response_model=TokenizeResponse)
@router.post("/v1/tokenize", response_model=TokenizeResponse)
async def tokenize(body: TokenizeRequest, request: Request, service: ServiceDependency) -> Response:
    """The ids of a text, or of the prompt that messages make."""
    model = service.route(request, body.model).served
    limit = service.settings_for(request).limits.max_prompt_tokens or NO_LIMIT
    async with admitted(request.scope) as charge:
        text, param = body.prompt or body.content or "", "prompt" if body.prompt else "content"
        if body.messages:
            size = body_bytes(request.scope)
            conversation = await off_loop(size, conversation_of, body, model)
            text, param = await prompt_of(conversation), "messages"
        ids = await run_encoding(len(text), _ids_of, body, text, param, model.tokenizer)
        charge(len(ids))
        content = await run_encoding(len(ids), _tokens_as_json, body, ids, model.tokenizer, limit)
    return Response(content, media_type="application/json")


@router.post("/detokenize", response_model=DetokenizeResponse)
@router.post("/v1/detokenize", response_model=DetokenizeResponse)
async def detokenize(
    body: DetokenizeRequest, request: Request, service: ServiceDependency
) -> Response:
    """The text of ids."""
    tokenizer = service.route(request, body.model).served.tokenizer
    async with admitted(request.scope) as charge:
        charge(len(body.tokens))
        content = await run_encoding(len(body.tokens), _text_as_json, body.tokens, tokenizer)
    return Response(content, media_type="application/json")


@router.post("/apply-template", response_model=ApplyTemplateResponse)
@router.post("/v1/apply-template", response_model=ApplyTemplateResponse)
async def apply_template(
    body: ApplyTemplateRequest, request: Request, service: ServiceDependency
) -> Response:
    """The prompt that messages make."""
    async with admitted(request.scope) as charge:
        model = service.route(request, body.model).served
        conversation = await off_loop(body_bytes(request.scope), conversation_of, body, model)
        text = await prompt_of(conversation)
        ids = await run_encoding(len(text), _ids_of_prompt, text, model.tokenizer)
        charge(len(ids))
        answer = {"prompt": plain(text), "tokens": ids}
        content = await run_encoding(len(text), msgspec.json.encode, answer)
    return Response(content, media_type="application/json")


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


def _ids_of_prompt(text: str, tokenizer: Tokenizer) -> list[int]:
    """Raises ApiError."""
    ids = encode_beginning(text, tokenizer, "messages", MOST_TOKENS + 1)
    if len(ids) > MOST_TOKENS:
        message = f"messages: must have at most {MOST_TOKENS} tokens (got more)"
        raise ApiError("invalid_value", message, "messages")
    return ids


def _ids_of(body: TokenizeRequest, text: str, param: str, tokenizer: Tokenizer) -> list[int]:
    """Raises ApiError."""
    if len(text) > MOST_CHARACTERS:
        message = f"{param} make a text of more than {MOST_CHARACTERS} characters"
        raise ApiError("invalid_value", message, param)
    shows_texts = body.with_pieces or body.return_token_strs
    most = MOST_TOKEN_TEXTS if shows_texts else MOST_TOKENS
    ids = []
    # Clients ask for the id of the token that ends a document by its name alone.
    names_count = body.parse_special or text in tokenizer.special_tokens
    parts = split_at_names(text, tokenizer) if names_count else [text]
    for part in parts:
        if isinstance(part, int):
            ids.append(part)
        else:
            ids += encode_beginning(part, tokenizer, param, most + 1)
        if len(ids) > most:
            where = " with with_pieces or return_token_strs" if shows_texts else ""
            message = f"{param}: must have at most {most} tokens{where} (got more)"
            raise ApiError("invalid_value", f"{message}; send it in parts", param)
    return ids


def _tokens_as_json(
    body: TokenizeRequest, ids: list[int], tokenizer: Tokenizer, limit: int
) -> bytes:
    answer = {"count": len(ids), "max_model_len": limit, "tokens": ids, "token_strs": None}
    if body.with_pieces:
        pieces = {each: token_piece(each, tokenizer) for each in set(ids)}
        answer["tokens"] = _list_of(
            {i: {"id": i, "piece": piece} for i, piece in pieces.items()}, ids
        )
    if body.return_token_strs:
        answer["token_strs"] = _list_of({i: token_text(i, tokenizer) for i in set(ids)}, ids)
    return msgspec.json.encode(answer)


def _text_as_json(ids: list[int], tokenizer: Tokenizer) -> bytes:
    """Raises ApiError."""
    check_ids(ids, "tokens", tokenizer)
    names = names_of_special(tokenizer)
    parts, size = [], 0
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[start : start + _IDS_AT_ONCE]
        parts.append(b"".join(tokenizer.token_bytes(i) or names.get(i, b"") for i in some))
        size += len(parts[-1])
        if size > MOST_TEXT_BYTES:
            message = f"tokens: must make at most {MOST_TEXT_BYTES} bytes of text (got more)"
            raise ApiError("invalid_value", f"{message}; send them in parts", "tokens")
        breathe()
    text = b"".join(parts).decode("utf-8", "replace")
    return msgspec.json.encode({"prompt": text, "content": text})


def _list_of(values: dict[int, Any], ids: list[int]) -> msgspec.Raw:
    """The value of each id as JSON, without an object for every one of a million tokens."""
    encoded = {token_id: msgspec.json.encode(value) for token_id, value in values.items()}
    return msgspec.Raw(b"[" + b",".join(encoded[token_id] for token_id in ids) + b"]")
