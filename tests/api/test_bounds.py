"""No list of a request is without a bound, and too many wrong items make one error."""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Len, MaxLen
from fastapi.routing import APIRoute
from pydantic import BaseModel, FailFast, PlainValidator, ValidationError

from server.api.bodies.route import JsonRoute
from server.api.schemas.bounds import MAX_CALLS, MAX_MESSAGES, MAX_PARTS, MAX_PROMPTS, MAX_STRINGS
from server.config_models import MAX_NAMES
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error
from tests.api.test_access import api_routes

pytestmark = pytest.mark.anyio

CHECKED_BY_HAND = {
    "tools", "documents", "chat_template_kwargs", "logit_bias", "prompt", "input", "tool_choice",
}  # fmt: skip
"""Fields with a validator in the place of pydantic's; TOO_MANY has each of them."""
TEXT = {"type": "text", "text": "a"}
USER = {"role": "user", "content": "a"}
TOO_MANY: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"messages": [USER] * (MAX_MESSAGES + 1)}, "messages"),
    (CHAT, {"messages": [{"role": "user", "content": [TEXT] * (MAX_PARTS + 1)}]}, "content"),
    (CHAT, {"messages": [{"role": "assistant", "content": "a", "tool_calls": [
        {"function": {"name": "a"}}] * (MAX_CALLS + 1)}]}, "tool_calls"),
    (CHAT, {"messages": [USER], "tools": [{}] * 10_000}, "tools"),
    (CHAT, {"messages": [USER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{}] * 10_000}}}, "tool_choice"),
    (CHAT, {"messages": [USER], "documents": [{}] * 10_000}, "documents"),
    (CHAT, {"messages": [USER], "chat_template_kwargs": dict.fromkeys(map(str, range(99)))},
     "chat_template_kwargs"),
    (COMPLETIONS, {"prompt": ["a"] * (MAX_PROMPTS + 1)}, "prompt"),
    (COMPLETIONS, {"prompt": [[1]] * (MAX_PROMPTS + 1)}, "prompt"),
    (COMPLETIONS, {"prompt": "a", "logit_bias": dict.fromkeys(map(str, range(9999)), 1)},
     "logit_bias"),
    (COMPLETIONS, {"prompt": "a", "stop_token_ids": [1] * 9999}, "stop_token_ids"),
    (COMPLETIONS, {"prompt": "a", "guided_choice": ["a"] * 10_001}, "guided_choice"),
    ("/v1/embeddings", {"input": ["a"] * 9999}, "input"),
    ("/v1/rerank", {"query": "a", "documents": ["a"] * 9999}, "documents"),
    ("/v1/score", {"text_1": "a", "text_2": ["a"] * 9999}, "text_2"),
    ("/v1/messages", {"max_tokens": 1, "messages": [USER] * (MAX_MESSAGES + 1)}, "messages"),
    ("/v1/messages", {"max_tokens": 1, "messages": [USER], "system": [TEXT] * 9999}, "system"),
    ("/v1/messages", {"max_tokens": 1, "messages": [USER], "stop_sequences": ["a"] * 9999},
     "stop_sequences"),
    ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": [TEXT] * 9999}]}]}, "content"),
    ("/v1/responses", {"input": [{"id": "a"}] * 20_000}, "input"),
    ("/v1/responses", {"input": [{"role": "user", "content": [
        {"type": "input_text", "text": "a"}] * 9999}]}, "input"),
    ("/api/chat", {"messages": [USER] * (MAX_MESSAGES + 1)}, "messages"),
    ("/api/chat", {"messages": [USER], "options": {"stop": ["a"] * (MAX_STRINGS + 1)}}, "stop"),
    ("/api/embed", {"input": ["a"] * (MAX_PROMPTS + 1)}, "input"),
]  # fmt: skip


def json_routes() -> list[APIRoute]:
    """Those whose bodies become models."""
    routes = api_routes(Harness().app.routes)
    return [each for each in routes if isinstance(each, APIRoute) and each.body_field]


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models that a value of this type can have in it."""
    seen: set[type[BaseModel]] = set()
    waiting = [annotation]
    while waiting:
        each = waiting.pop()
        if isinstance(each, type) and issubclass(each, BaseModel) and each not in seen:
            seen.add(each)
            yield each
            waiting += [field.annotation for field in each.model_fields.values()]
        waiting += get_args(each)


REQUESTS = {
    model
    for route in json_routes()
    for model in models_of(typing.cast(Any, route.body_field).field_info.annotation)
}


def unbounded(annotation: Any, metadata: list[Any]) -> Iterator[str]:
    """What is wrong with the lists and mappings of a type; metadata is what is said of it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from unbounded(inner, [*metadata, *more])
        return
    kind, args = get_origin(annotation) or annotation, get_args(annotation)
    is_union = kind in (Union, types.UnionType)
    if isinstance(kind, type) and issubclass(kind, list | set | tuple | Mapping):
        if kind is dict and get_args(args[1])[:1] in ((), (Any,)) and "Any" in str(args[1]):
            return  # http.max_body_values is its bound
        said = [x for each in metadata for x in getattr(each, "metadata", [each])]
        if not any(isinstance(each, MaxLen | Len) for each in said):
            yield f"{annotation} has no max_length"
    for each in args:
        # What is said of an optional list is said of the list.
        yield from unbounded(each, metadata if is_union else [])


def wrong_fields(model: type[BaseModel]) -> list[str]:
    return [
        f"{model.__name__}.{name}: {what}"
        for name, field in model.model_fields.items()
        if not any(isinstance(each, PlainValidator) for each in field.metadata)
        or name not in CHECKED_BY_HAND
        for what in unbounded(field.annotation, field.metadata)
    ]


def test_every_route_with_a_json_body_counts_it_first() -> None:
    routes = json_routes()
    assert len(routes) > 30
    assert [each.path for each in routes if not isinstance(each, JsonRoute)] == []


@pytest.mark.parametrize("model", sorted(REQUESTS, key=lambda each: each.__name__))
def test_every_list_of_a_request_has_a_bound(model: type[BaseModel]) -> None:
    assert wrong_fields(model) == []


MANY = 20_000
WRONG_VALUES: list[Any] = [
    {f"k{number}": number for number in range(MANY)},
    {f"k{number}": {} for number in range(MANY)},
    *([each] * MANY for each in ({}, 5, [], "a", None, {"role": "user"}, {"type": "text"})),
]


@pytest.mark.parametrize("model", sorted(REQUESTS, key=lambda each: each.__name__))
def test_too_many_wrong_values_make_few_errors(model: type[BaseModel]) -> None:
    bodies = [{name: value} for name in model.model_fields for value in WRONG_VALUES]
    for body in [*WRONG_VALUES[:2], *bodies]:
        try:
            model.model_validate(body)
        except ValidationError as error:
            found = error.error_count()
        else:
            continue
        assert found <= MAX_NAMES, [*body][:2]


def test_a_list_without_a_bound_is_found() -> None:
    class Loose(BaseModel):
        names: list[str]
        pairs: Annotated[list[int] | None, FailFast()]
        inner: dict[str, list[int]]

    assert len(wrong_fields(Loose)) == 4


@pytest.mark.parametrize(("path", "body", "param"), TOO_MANY)
async def test_too_many_items_are_refused_by_name(
    path: str, body: dict[str, Any], param: str
) -> None:
    api = Harness()
    response = await api.post(path, **body)
    assert response.status_code == 400
    assert param in response.text
    assert len(response.content) < 1000
    assert api.worker.generated == []


def test_every_field_that_is_checked_by_hand_is_tried() -> None:
    assert {param for *_, param in TOO_MANY} >= CHECKED_BY_HAND


async def test_a_body_of_many_values_is_refused_before_it_is_parsed() -> None:
    api = Harness({"http": {"max_body_values": 10_000}})
    for path in (CHAT, "/v1/messages", "/api/chat", "/v1/conversations", "/detokenize"):
        response = await api.post(path, unknown=[[]] * 10_001)
        if path.startswith(("/v1/messages", "/api")):
            assert response.status_code == 413
        else:
            assert "max_body_values" in assert_error(response, 413, "request_too_large")["message"]
