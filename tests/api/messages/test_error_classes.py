"""Every status becomes the official client's own exception."""

from collections.abc import Callable
from typing import Any

import anthropic
import anyio
import pytest
from anthropic import AsyncAnthropic

from tests.api.harness import MODEL, Harness, serving

pytestmark = pytest.mark.anyio

ASK: Any = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def loading() -> Harness:
    api = Harness()
    api.client.close("compiling kernels")
    return api


CASES: list[tuple[Callable[[], Harness], type[anthropic.APIStatusError], int, str]] = [
    (
        lambda: Harness({"http": {"max_body_bytes": 1024}}),
        anthropic.RequestTooLargeError,
        413,
        "request_too_large",
    ),
    (loading, anthropic.InternalServerError, 503, "overloaded_error"),
    (
        lambda: Harness(finish="error", error="out of luck"),
        anthropic.InternalServerError,
        500,
        "api_error",
    ),
]


@pytest.mark.parametrize(("make", "error", "status", "kind"), CASES)
async def test_a_status_is_an_exception_of_its_own(
    make: Callable[[], Harness], error: type[anthropic.APIStatusError], status: int, kind: str
) -> None:
    long = {"role": "user", "content": "x" * 2000} if status == 413 else ASK["messages"][0]
    async with (
        serving(make().app) as base,
        AsyncAnthropic(base_url=base, api_key="-", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**{**ASK, "messages": [long]})
    assert isinstance(caught.value, error)
    assert caught.value.status_code == status
    body: Any = caught.value.body
    assert (body["error"]["type"], body["request_id"]) == (kind, caught.value.request_id)


async def test_too_many_requests_are_a_rate_limit() -> None:
    api = Harness({"limits": {"max_requests": 1}}, hold_after=0)
    async with (
        serving(api.app) as base,
        AsyncAnthropic(base_url=base, api_key="-", max_retries=0) as client,
        api.http() as http,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: http.post("/v1/messages", json=ASK))
        await api.worker.until(lambda: bool(api.worker.generated))
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**ASK)
        api.worker.release()
    assert int(caught.value.response.headers["retry-after"]) >= 1
