"""What requests say of the state cache: breakpoints, options, keys; and what usage says of it."""

import json
from typing import Any

import pytest

from server.protocol.cache_use import CacheUse
from server.protocol.outputs import RequestOutput
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, events
from tests.fakes import FakeWorker

pytestmark = pytest.mark.anyio

MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text} | fields


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


async def boundaries(*messages: dict[str, Any], **fields: Any) -> dict[str, str]:
    """The beginnings of the prompt after which a snapshot is wanted, and their kinds."""
    api = Harness()
    response = await api.post(CHAT, messages=list(messages), **fields)
    assert response.status_code == 200, response.text
    task = api.worker.generated[0].task
    text = bytes(token - 1 for token in task.prompt_ids)
    return {text[:count].decode(): kind for count, kind in task.use.boundaries.items()}


async def test_breakpoints_are_where_their_parts_end() -> None:
    system = {"role": "system", "content": [part("Wörld", **MARK), part("be brief")]}
    found = await boundaries(system, user(part("a"), part("b", **MARK), part("c")))
    assert found == {
        "system: Wörld": "breakpoint",
        "system: Wörld\nbe brief": "system",
        "system: Wörld\nbe brief\n\nuser: a\nb": "breakpoint",
        "system: Wörld\nbe brief\n\nuser: a\nb\nc": "message",
    }
    answered = {"role": "assistant", "content": [part("yes", **MARK)]}
    found = await boundaries(user(part("a")), answered, user(part("b", **MARK)))
    assert found == {
        "user: a\n\nassistant: yes": "breakpoint",
        "user: a\n\nassistant: yes\n\nuser: b": "breakpoint",
    }


async def test_the_latest_four_count() -> None:
    marked = [part(letter, **MARK) for letter in "abcdef"]
    found = await boundaries(user(*marked, part("g")), prompt_cache_options={"mode": "explicit"})
    assert [text[-1] for text in found] == list("cdef")


@pytest.mark.parametrize(
    ("options", "marks", "expected"),
    [
        ({}, False, CacheUse(boundaries={7: "message"})),
        ({"mode": "implicit", "ttl": "30m"}, True, CacheUse(boundaries={7: "breakpoint"})),
        ({"mode": "explicit"}, True, CacheUse(boundaries={7: "breakpoint"}, implicit=False)),
        ({"mode": "explicit"}, False, CacheUse(reads=False, writes=False, implicit=False)),
    ],
)
async def test_what_the_options_mean(
    options: dict[str, str], marks: bool, expected: CacheUse
) -> None:
    api = Harness()
    messages = [user(part("a", **(MARK if marks else {})))]
    await api.post(CHAT, messages=messages, prompt_cache_options=options)
    assert api.worker.generated[0].task.use == expected


@pytest.mark.parametrize("ttl", [None, "30m", "12h"])
async def test_what_the_sdk_allows_is_accepted(ttl: str | None) -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}
    for retention in ("in_memory", "24h", None):
        assert await boundaries(user(part("a", **mark)), prompt_cache_retention=retention)
    assert await boundaries(user(part("a", prompt_cache_breakpoint=None)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt_cache_options": {"mode": "never"}}, "prompt_cache_options.mode"),
        ({"prompt_cache_options": {"ttl": "1h"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_options": []}, "prompt_cache_options"),
        ({"prompt_cache_retention": "1h"}, "prompt_cache_retention"),
        ({"prompt_cache_key": "k" * 257}, "prompt_cache_key"),
        ({"prompt_cache_breakpoint": {"mode": "implicit"}}, "prompt_cache_breakpoint should"),
        ({"prompt_cache_breakpoint": True}, "prompt_cache_breakpoint should"),
        (
            {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ["30m"]}},
            "prompt_cache_breakpoint.ttl should",
        ),
    ],
)
async def test_anything_else_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    in_part = fields if "prompt_cache_breakpoint" in fields else {}
    response = await Harness().post(CHAT, **{"messages": [user(part("a", **in_part))]} | fields)
    error = assert_error(response, 400, "invalid_value")
    assert named in error["message"]
    assert error["param"] == ("messages.0.content" if in_part else named)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
async def test_usage_counts_a_prompt_once(path: str, stream: bool) -> None:
    api = Harness()
    deliver = api.client.deliver

    def deliver_counted(link: Any, outputs: list[RequestOutput]) -> None:
        first = [each.token_ids == [0] for each in outputs]
        deliver(
            link,
            [
                RequestOutput(
                    *(each.request_id, each.text, each.token_ids, each.finish_reason),
                    cached_tokens=10 if is_first else 0,
                    written_tokens=3 if is_first else 0,
                )
                for each, is_first in zip(outputs, first, strict=True)
            ],
        )

    api.client.deliver = deliver_counted  # type: ignore[method-assign]
    body = {"messages": [user(part("a"))], "prompt": ["a", "b"], "n": 3}
    options = {"include_usage": True}
    response = await api.post(
        path, **body, stream=stream, stream_options=options if stream else None
    )
    found = json.loads(events(response.text)[-2]) if stream else response.json()
    prompts = 1 if path == CHAT else 2
    assert found["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 10 * prompts,
        "cache_write_tokens": 3 * prompts,
    }


@pytest.mark.parametrize(
    ("path", "prompt"), [(CHAT, {"messages": [user(part("a"))]}), (COMPLETIONS, {"prompt": "a"})]
)
async def test_the_key_chooses_the_worker(path: str, prompt: dict[str, Any]) -> None:
    api = Harness()
    workers = [api.worker, FakeWorker(api.client), FakeWorker(api.client)]
    for key in ("one", "two", "three", "four"):
        before = [len(worker.generated) for worker in workers]
        for _ in range(3):
            await api.post(path, **prompt, prompt_cache_key=key, n=2)
        new = [len(worker.generated) - count for worker, count in zip(workers, before, strict=True)]
        assert sorted(new) == [0, 0, 6]
