"""Long texts are worked on beside the loop: so much at once, and only while somebody waits."""

import asyncio
import threading
from typing import Any

import pytest

from server.api.errors import ApiError, ClientGoneError
from server.api.text_threads import (
    SHORT_CHARACTERS,
    ClientWatch,
    TextThreads,
    UnwantedError,
    breathe,
)
from server.tokenizer.bounded_template import TemplateFailedError
from tests.api.harness import MODEL, Harness, assert_error
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio


class Work:
    """Goes on until it is told to end, or nobody wants it."""

    def __init__(self) -> None:
        self.begun, self.end, self.unwanted = (threading.Event() for _ in range(3))

    def __call__(self) -> str:
        self.begun.set()
        try:
            while not self.end.wait(0.001):
                breathe()
        except UnwantedError:
            self.unwanted.set()
            raise
        return "done"


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def test_so_much_text_may_wait_and_more_is_refused() -> None:
    threads, work = TextThreads(100), Work()
    first = asyncio.create_task(threads.run(1000, work))  # alone it may be longer
    await until(work.begun)
    with pytest.raises(ApiError) as error:
        await threads.run(1, Work())
    assert error.value.code == "queue_full"
    assert error.value.headers["retry-after"] == "2"  # type: ignore[index]
    work.end.set()
    assert await first == "done"
    assert await threads.run(1, lambda: 1) == 1


async def test_short_texts_do_not_wait_for_long_ones() -> None:
    threads, long = TextThreads(), Work()
    task = asyncio.create_task(threads.run(SHORT_CHARACTERS + 1, long))
    await until(long.begun)
    assert await threads.run(SHORT_CHARACTERS, lambda: "short") == "short"
    long.end.set()
    assert await task == "done"


async def watched(threads: TextThreads, work: Work, gone: asyncio.Event) -> None:
    """Run it for a client that leaves when the event is set."""

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def app(*_: Any) -> None:
        await threads.run(10, work)

    async def send(_: Any) -> None: ...

    await ClientWatch(app)({"type": "http"}, receive, send)  # type: ignore[arg-type]


async def test_the_work_of_a_client_that_leaves_ends() -> None:
    threads, gone = TextThreads(20), asyncio.Event()
    works = [Work() for _ in range(2)]
    tasks = [asyncio.create_task(watched(threads, work, gone)) for work in works]
    for work in works:
        await until(work.begun)
    gone.set()
    for task, work in zip(tasks, works, strict=True):
        with pytest.raises(ClientGoneError):
            await task
        await until(work.unwanted)
    while threads._characters:  # what they held is free
        await asyncio.sleep(0)
    assert await threads.run(20, lambda: 1) == 1


async def test_work_that_nobody_waits_for_does_not_begin() -> None:
    threads, gone = TextThreads(), asyncio.Event()
    works = [Work() for _ in range(3)]
    others = [asyncio.create_task(threads.run(1, work)) for work in works[:2]]
    for work in works[:2]:
        await until(work.begun)
    task = asyncio.create_task(watched(threads, works[2], gone))
    await asyncio.sleep(0)
    gone.set()
    with pytest.raises(ClientGoneError):
        await task
    for work in works[:2]:
        work.end.set()
    assert await asyncio.gather(*others) == ["done", "done"]
    while threads._characters:
        await asyncio.sleep(0)
    assert not works[2].begun.is_set()


async def test_a_cancelled_wait_ends_the_work() -> None:
    threads, work = TextThreads(), Work()
    task = asyncio.create_task(threads.run(1, work))
    await until(work.begun)
    task.cancel()
    await until(work.unwanted)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/tokenize", "/apply-template", "/v1/messages/count_tokens"]
)
async def test_a_template_that_fails_is_an_error_of_the_server(path: str) -> None:
    api = Harness(template_error=TemplateFailedError("model's chat template: took too long"))
    messages = [{"role": "user", "content": "Hi"}]
    response = await api.post(path, messages=messages, model=MODEL, max_tokens=5)
    if path == "/v1/messages/count_tokens":
        assert response.status_code == 500
        assert "model's chat template: took too long" in response.text
    else:
        error = assert_error(response, 500, "template_failed")
        assert error["message"] == "model's chat template: took too long"
    assert response.headers["x-should-retry"] == "false"


async def test_a_boundary_does_not_hide_that_a_template_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Harness()
    rendered: list[Any] = []

    def render(messages: Any, *_: Any) -> str:
        rendered.append(messages)
        if len(rendered) > 1:
            raise TemplateFailedError("model's chat template: took too long")
        return "Hi"

    monkeypatch.setattr(api.template, "render", render)
    response = await api.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}])
    assert_error(response, 500, "template_failed")
