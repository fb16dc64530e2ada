"""However large an answer is, it does not hold up the event loop, and so no other stream."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from server.protocol.messages import Generate
from server.protocol.outputs import RequestOutput
from server.sampling.token_logprobs import TokenLogprobs
from tests.api.batches_harness import BatchesHarness, line
from tests.api.harness import CHAT, COMPLETIONS, Harness
from tests.api.loop_watch import Sent, watching
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.processor import slowness

pytestmark = pytest.mark.anyio

TOKENS = 16_384
LONGEST = 0.1 if sys.gettrace() is None else 0.5
"""Seconds of the processor. Once it took 2 to 3 seconds, and for some of these a fifth of one."""

MESSAGES = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOP = TokenLogprobs(-1.5, [65 + n for n in range(20)], [-1.2345678901234567 - n for n in range(20)])
ALONE = TokenLogprobs(-1.5)
LIMITS = {"limits": {"max_queued_tokens": 2_000_000}}

CHATTING = {"messages": MESSAGES, "logprobs": True, "top_logprobs": 20, "max_tokens": TOKENS}
COMPLETING = {"prompt": "x", "logprobs": 20, "max_tokens": TOKENS}
RESPONDING = {"input": "hi", "top_logprobs": 20, "max_output_tokens": TOKENS}
OLLAMA = {"messages": MESSAGES, "logprobs": True, "top_logprobs": 20}
OLLAMA |= {"options": {"num_predict": TOKENS}}
SCORING = {"prompt": [98] * 65_000, "echo": True, "logprobs": 0, "max_tokens": 1}
SEVERAL = CHATTING | {"n": 16, "max_tokens": 1000}


def talkative(
    api: Harness, text: str = "a", at_once: int = 16, scores: TokenLogprobs = TOP, around: str = ""
) -> None:
    """Its worker says one token again and again, many at once, and once another around them."""
    worker = api.worker

    def deliver(request: Generate, *said: Any, **more: Any) -> None:
        worker.client.deliver(worker.link, [RequestOutput(request.request_id, *said, **more)])

    async def answer(request: Generate) -> None:
        params, left = request.task.params, request.task.params.max_tokens
        if params.prompt_logprobs >= 0:
            known = [None, *[scores] * (len(request.task.prompt_ids) - 1)]
            deliver(request, "", [], prompt_logprobs=known[params.prompt_logprobs_from :])
        other = [ord(each) + 1 for each in around]
        if around:
            deliver(request, around, other, logprobs=[scores])
        while left:
            count = min(at_once, left)
            left -= count
            logprobs = [scores] * count if params.logprobs >= 0 else []
            deliver(request, text * count, [ord(text) + 1] * count, logprobs=logprobs)
            await asyncio.sleep(0)
        deliver(request, around, other, "length", logprobs=[scores] * len(other))

    worker._answer = answer  # type: ignore[method-assign]


async def ask(api: Harness, path: str, **body: Any) -> Sent:
    """The answer to a request, while which the loop goes on."""
    sent = Sent(body)
    async with watching() as watch:
        await sent.ask(api.app, path)
    assert sent.status == 200, sent.parts[:1]
    assert watch.longest < LONGEST * slowness()
    return sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "megabytes"),
    [
        (CHAT, CHATTING, 19),
        (COMPLETIONS, COMPLETING, 8),
        (RESPONSES, RESPONDING, 19),
        ("/api/chat", OLLAMA, 19),
        (COMPLETIONS, SCORING, 1),
        (CHAT, SEVERAL, 19),
    ],
)
async def test_log_probabilities_hold_up_nobody(
    path: str, body: dict[str, Any], megabytes: int, stream: bool
) -> None:
    api = Harness(LIMITS)
    talkative(api, at_once=500 if body is SEVERAL else 16, scores=ALONE if body is SCORING else TOP)
    sent = await ask(api, path, **body, stream=stream)
    assert sent.size > megabytes * 1_000_000


async def test_log_probabilities_that_a_stream_holds_back_come_as_one_list() -> None:
    api = Harness()
    talkative(api, text=" ", around="b")  # no blank is said before something follows
    sent = await ask(api, CHAT, **CHATTING, stream=True, tools=[TOOL])
    lists = [each.count(b'"top_logprobs"') for each in b"".join(sent.parts).split(b"\n\n")]
    assert max(lists) > TOKENS


@pytest.mark.parametrize("background", [False, True])
async def test_responses_that_are_kept_hold_up_nobody(tmp_path: Path, background: bool) -> None:
    api = ResponsesHarness(tmp_path)
    talkative(api)
    asked = RESPONDING | {"stream": True, "background": background, "max_output_tokens": 8000}
    sent = Sent(asked)
    async with watching() as watch:
        await sent.ask(api.app, RESPONSES)
        ident = sent.parts[0].partition(b'"id":"')[2].partition(b'"')[0].decode()
        path = f"{RESPONSES}/{ident}"
        read = Sent({})
        await read.ask(api.app, path, "GET")
        cancelled = Sent({})
        await cancelled.ask(api.app, f"{path}/cancel")
        goes_on = Sent({"input": "more", "previous_response_id": ident, "max_output_tokens": 16})
        await goes_on.ask(api.app, RESPONSES)
    assert watch.longest < 2 * LONGEST * slowness()  # which the database's copies of them take
    whole = b"".join(read.parts)
    assert whole.count(b'"top_logprobs":[') == 8000
    assert whole in sent.last_event()
    assert cancelled.status == (200 if background else 400)
    assert not background or b"".join(cancelled.parts) == whole
    assert goes_on.status == 200


async def test_a_line_of_a_batch_holds_up_nobody(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    talkative(api)
    async with watching() as watch, api.running():
        batch = await api.create(line("a", CHAT, **CHATTING))
        batch = await api.finished(batch["id"])
        assert batch["request_counts"]["completed"] == 1
        assert batch["usage"]["output_tokens"] == TOKENS
    assert watch.longest < 2 * LONGEST * slowness()


async def test_vectors_hold_up_nobody() -> None:
    api = Harness(LIMITS)
    worker = api.worker

    async def answer(request: Generate) -> None:
        vector = b"\x3f\x12\x34\x56\x78\x9a\xbc\x3f" * 2048
        output = RequestOutput(request.request_id, "", [], "stop", embedding=vector)
        worker.client.deliver(worker.link, [output])

    worker._answer = answer  # type: ignore[method-assign]
    for path in ("/v1/embeddings", "/api/embed"):
        sent = await ask(api, path, input=["x"] * 2000)
        assert sent.size > 30 << 20


async def test_a_long_prompt_before_every_choice_holds_up_nobody() -> None:
    api = Harness(LIMITS)
    talkative(api)
    for stream in (False, True):
        body = {"prompt": "é\n" * 300_000, "echo": True, "n": 16, "max_tokens": 1, "stream": stream}
        sent = await ask(api, COMPLETIONS, **body)
        assert sent.size > 16 * 4 * 300_000
