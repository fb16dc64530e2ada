"""Responses without their clients: polled, followed, cancelled, and made by the next server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from server.api.responses import background
from tests.api.harness import MODEL
from tests.api.responses_harness import CONVERSATIONS, RESPONSES, ResponsesHarness
from tests.api.test_response_events import events
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

TEXT = "Hello, wörld"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds that only time brings."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def test_it_is_answered_at_once_and_can_be_polled(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with api.sdk() as client:
        queued = await client.responses.create(model=MODEL, input="hi", background=True)
        assert (queued.status, queued.background, queued.output) == ("queued", True, [])
        while (await client.responses.retrieve(queued.id)).status == "queued":
            pass
        running = await client.responses.retrieve(queued.id)
        assert (running.status, running.usage) == ("in_progress", None)
        with pytest.raises(openai.BadRequestError, match="has to be finished first"):
            await client.responses.create(model=MODEL, input="hi", previous_response_id=queued.id)
        api.worker.release()
        done = await api.until_ended(queued.id)
        assert (done["status"], done["usage"]["output_tokens"]) == ("completed", 3)
        following = await client.responses.create(
            model=MODEL, input="more", previous_response_id=queued.id
        )
        assert following.output_text == TEXT
    assert api.background.running == 0


async def test_its_stream_can_be_left_and_taken_up_again(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    async with api.sdk() as client:
        stream = await client.responses.create(
            model=MODEL, input="hi", background=True, stream=True
        )
        seen = []
        async for event in stream:
            seen.append(event.type)
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        ident = next(iter(api.background._runs))
        again = await client.responses.retrieve(
            ident, stream=True, starting_after=event.sequence_number
        )
        api.worker.release()
        seen += [event.type async for event in again]
        assert not api.worker.aborted
        whole = await api.call("GET", f"{RESPONSES}/{ident}?stream=true")
        told = events(whole.text)
        assert seen == [name for name, _ in told]
        assert seen[:3] == ["response.created", "response.queued", "response.in_progress"]
        assert told[-1][1]["response"] == await api.ask("GET", f"{RESPONSES}/{ident}")


async def test_only_what_was_begun_as_a_stream_can_be_followed(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    for body in ({}, {"background": True}):
        ident = (await api.respond(**body))["id"]
        refused = await api.call("GET", f"{RESPONSES}/{ident}?stream=true")
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "stream"


async def test_a_follower_hears_pings_while_nothing_happens(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"http": {"ping_seconds": 0.01}}, hold_after=0)
    async with api.http("mine") as http:
        body = {"input": "hi", "background": True, "stream": True}
        asking = asyncio.create_task(http.post(RESPONSES, json=body))
        await api.worker.until(lambda: bool(api.worker.generated))
        await asyncio.sleep(0.05)
        api.worker.release()
        assert ": ping" in (await asking).text


async def test_it_can_be_cancelled_and_deleted(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    cancelled, deleted = [(await api.respond(background=True))["id"] for _ in range(2)]
    path = f"{RESPONSES}/{cancelled}"
    assert (await api.ask("POST", f"{path}/cancel"))["status"] == "cancelled"
    assert (await api.ask("POST", f"{path}/cancel"))["status"] == "cancelled"
    assert (await api.ask("GET", path))["status"] == "cancelled"
    await api.ask("DELETE", f"{RESPONSES}/{deleted}")
    assert (await api.call("GET", f"{RESPONSES}/{deleted}")).status_code == 404
    await until(lambda: len(api.worker.aborted) == 2 and not api.background.running)
    foreground = (await api.call("POST", f"{RESPONSES}/resp_0/cancel")).json()
    assert foreground["error"]["code"] == "response_not_found"


async def test_only_those_in_the_background_can_be_cancelled(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    ident = (await api.respond())["id"]
    refused = await api.call("POST", f"{RESPONSES}/{ident}/cancel")
    assert refused.status_code == 400
    done = await api.until_ended((await api.respond(background=True))["id"])
    assert await api.ask("POST", f"{RESPONSES}/{done['id']}/cancel") == done


async def test_their_number_is_bounded_and_so_are_all_requests(tmp_path: Path) -> None:
    sections = {"responses": {"max_background": 1}, "limits": {"max_requests": 2}}
    api = ResponsesHarness(tmp_path, sections, hold_after=0)
    first = await api.respond(background=True)
    body = {"input": "hi", "background": True}
    refused = await api.call("POST", RESPONSES, json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (429, "background")
    assert refused.headers["retry-after"]
    # What is refused in any other way leaves nothing, either.
    api.settings.responses.__dict__["max_background"] = 9
    await api.respond(background=True)
    refused = await api.call("POST", RESPONSES, json=body)
    assert refused.json()["error"]["code"] == "queue_full"
    assert api.background.running == 2
    api.worker.release()
    assert (await api.until_ended(first["id"]))["status"] == "completed"


async def test_a_failure_is_kept(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, finish="error", error="out of luck")
    failed = await api.until_ended((await api.respond(background=True))["id"])
    assert failed["status"] == "failed"
    assert "out of luck" in failed["error"]["message"]
    assert failed["output"] == []


async def test_a_conversation_gets_its_items_when_it_is_done(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, hold_after=0)
    ident = (await api.ask("POST", CONVERSATIONS))["id"]
    response = await api.respond(background=True, conversation=ident)
    items = f"{CONVERSATIONS}/{ident}/items"
    assert (await api.ask("GET", items))["data"] == []
    api.worker.release()
    await api.until_ended(response["id"])
    assert [item["role"] for item in (await api.ask("GET", items))["data"]] == ["assistant", "user"]


async def begin_and_stop(tmp_path: Path, **body: Any) -> tuple[str, Any]:
    """The id of a response that a server has begun and not finished, and what it asked for."""
    api = ResponsesHarness(tmp_path, {"model": {"aliases": ["old name"]}})
    before = await api.respond(input="before")
    api.worker.hold_after = 1
    ident = (await api.respond(background=True, previous_response_id=before["id"], **body))["id"]
    while (await api.ask("GET", f"{RESPONSES}/{ident}"))["status"] == "queued":
        pass
    api.manager.close()
    await api.background.stop()
    api.kept.close()
    return ident, api.worker.generated[-1].task


async def test_the_next_server_makes_what_this_one_has_begun(tmp_path: Path) -> None:
    ident, task = await begin_and_stop(tmp_path, instructions="be brief", top_k=3)
    api = ResponsesHarness(tmp_path)
    assert (await api.ask("GET", f"{RESPONSES}/{ident}"))["status"] == "in_progress"
    await api.background.tick()
    done = await api.until_ended(ident)
    assert (done["status"], done["id"]) == ("completed", ident)
    assert done["output"][0]["content"][0]["text"] == TEXT
    again = api.worker.generated[0].task
    assert (again.prompt_ids, again.params, again.use) == (task.prompt_ids, task.params, task.use)
    await api.background.tick()
    assert len(api.worker.generated) == 1


async def test_what_another_server_makes_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, other = ResponsesHarness(tmp_path, hold_after=1), ResponsesHarness(tmp_path)
    ident = (await maker.respond(background=True))["id"]
    await other.background.tick()
    assert not other.worker.generated
    # It can be cancelled there; who makes it finds out.
    await other.ask("POST", f"{RESPONSES}/{ident}/cancel")
    await maker.background.tick()
    await until(lambda: maker.background.running == 0)
    assert maker.worker.aborted
    # A maker that has said nothing for too long is taken for dead.
    monkeypatch.setattr(background, "LEASE_SECONDS", -1.0)
    ident = (await maker.respond(background=True))["id"]
    await other.background.tick()
    assert (await other.until_ended(ident))["status"] == "completed"


async def test_what_cannot_be_made_again_fails_or_waits(tmp_path: Path) -> None:
    waiting, _ = await begin_and_stop(tmp_path)
    busy = ResponsesHarness(tmp_path, {"limits": {"max_requests": 1}}, hold_after=0)
    asking = asyncio.create_task(busy.respond())
    await busy.worker.until(lambda: bool(busy.worker.generated))
    await busy.background.tick()
    assert (await busy.ask("GET", f"{RESPONSES}/{waiting}"))["status"] == "in_progress"
    busy.worker.release()
    await asking
    await busy.background.tick()
    assert (await busy.until_ended(waiting))["status"] == "completed"
    gone, _ = await begin_and_stop(tmp_path, model="old name")
    await busy.background.tick()
    failed = await busy.until_ended(gone)
    assert failed["status"] == "failed"
    assert failed["error"]["type"] == "model_not_found"


async def test_an_answer_that_cannot_be_kept_is_not_made_again_for_ever(tmp_path: Path) -> None:
    api = ResponsesHarness(
        tmp_path, {"responses": {"limit_bytes": 4096}}, script=lambda _: ["long " * 1000]
    )
    failed = await api.until_ended((await api.respond(background=True))["id"])
    assert failed["status"] == "failed"
    assert failed["error"]["type"] == "responses_full"
    ident, _ = await begin_and_stop(tmp_path)
    # Here there is no room for a failure, either.
    smaller = ResponsesHarness(tmp_path, {"responses": {"limit_bytes": 512}})
    await smaller.background.tick()
    await until(lambda: smaller.background.running == 0)
    assert (await smaller.call("GET", f"{RESPONSES}/{ident}")).status_code == 404
