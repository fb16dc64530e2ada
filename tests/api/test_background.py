"""Responses without their clients: polled, followed, cancelled, and made by the next server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from server.api.responses import background, runs
from server.api.responses.answer import Answer
from server.api.responses.run import Run
from tests.access.keys_files import write_keys
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
        ident, _ = next(iter(api.background._runs))
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


@pytest.mark.parametrize("stream", [False, True])
async def test_it_ends_with_its_conversation(tmp_path: Path, stream: bool) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    conversation = (await api.ask("POST", CONVERSATIONS, json={}))["id"]
    other = (await api.respond(background=True))["id"]
    body = {"input": "hi", "background": True, "conversation": conversation, "stream": stream}
    asking = asyncio.create_task(api.call("POST", RESPONSES, json=body))
    await api.worker.until(lambda: len(api.worker.generated) == 2)
    await api.ask("DELETE", f"{CONVERSATIONS}/{conversation}")
    # Nothing has to be looked for first: the next tick is seconds away.
    await until(lambda: len(api.worker.aborted) == 1 and api.background.running == 1)
    await asking  # a follower is let go
    assert [ident for ident, _ in api.background._runs] == [other]
    api.worker.release()
    assert (await api.until_ended(other))["status"] == "completed"
    assert (await api.call("GET", f"{CONVERSATIONS}/{conversation}")).status_code == 404


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


def with_keys(folder: Path, **owners: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Sections of settings with a file of keys, and the keys by the names of their owners."""
    file = folder / "keys.toml"
    keys = write_keys(file, owners)
    return {"http": {"keys_file": str(file)}}, keys


async def begin(api: ResponsesHarness, key: str, **body: Any) -> str:
    """The id of a response in the background that the engine has begun."""
    before = len(api.worker.generated)
    queued = await api.ask("POST", RESPONSES, key, json={"input": "hi", "background": True} | body)
    await until(lambda: len(api.worker.generated) > before)
    return str(queued["id"])


async def status(api: ResponsesHarness, key: str, ident: str) -> dict[str, Any]:
    found: dict[str, Any] = await api.ask("GET", f"{RESPONSES}/{ident}", key)
    return found


async def stop(api: ResponsesHarness) -> None:
    api.manager.close()
    await api.background.stop()
    api.kept.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_it_ends_when_its_key_is_taken_back_and_those_of_others_go_on(
    tmp_path: Path, stream: bool
) -> None:
    sections, keys = with_keys(tmp_path, alice={}, bob={})
    api = ResponsesHarness(tmp_path, sections, hold_after=1)
    hers = await begin(api, keys["alice"])
    his = await begin(api, keys["bob"])
    following = asyncio.create_task(
        api.call(
            "POST",
            RESPONSES,
            keys["alice"],
            json={"input": "hi", "background": True, "stream": stream},
        )
    )
    await until(lambda: len(api.worker.generated) == 3)
    with_keys(tmp_path, bob={})  # with a new key of his
    api.keys.reread()
    await until(lambda: api.background.running == 1)
    assert len(api.worker.aborted) == 2
    text = (await following).text
    if stream:
        assert events(text)[-1][1]["response"]["error"]["type"] == "invalid_api_key"
    back = with_keys(tmp_path, alice={}, bob={})[1]
    api.keys.reread()
    failed = await status(api, back["alice"], hers)
    assert (failed["status"], failed["error"]["type"]) == ("failed", "invalid_api_key")
    api.worker.release()
    await until(lambda: api.background.running == 0)
    assert (await status(api, back["bob"], his))["status"] == "completed"


async def test_it_is_not_taken_over_for_a_key_that_was_taken_back(tmp_path: Path) -> None:
    sections, keys = with_keys(tmp_path, alice={}, bob={})
    first = ResponsesHarness(tmp_path, sections, hold_after=1)
    hers, his = await begin(first, keys["alice"]), await begin(first, keys["bob"])
    await stop(first)
    with_keys(tmp_path, bob={})
    second = ResponsesHarness(tmp_path, sections)
    await second.background.tick()
    await until(lambda: second.background.running == 0)
    back = with_keys(tmp_path, alice={}, bob={})[1]
    second.keys.reread()
    failed = await status(second, back["alice"], hers)
    assert (failed["status"], failed["error"]["type"]) == ("failed", "invalid_api_key")
    assert len(second.worker.generated) == 1
    assert (await status(second, back["bob"], his))["status"] == "completed"


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_output_tokens": 5}, "invalid_value"),
        ({"max_prompt_tokens": 1}, "context_length_exceeded"),
        ({"priority": 7}, None),
    ],
)
async def test_the_limits_of_its_key_hold_for_the_next_server_too(
    tmp_path: Path, limits: dict[str, Any], error: str | None
) -> None:
    sections, keys = with_keys(tmp_path, alice={"priority": 3})
    first = ResponsesHarness(tmp_path, sections, hold_after=1)
    ident = await begin(first, keys["alice"], max_output_tokens=9)
    assert first.worker.generated[0].task.priority == 3
    await stop(first)
    keys = with_keys(tmp_path, alice=limits)[1]
    second = ResponsesHarness(tmp_path, sections)
    await second.background.tick()
    await until(lambda: second.background.running == 0)
    done = await status(second, keys["alice"], ident)
    assert (done["error"] or {}).get("type") == error
    if error is None:
        assert second.worker.generated[0].task.priority == 7


@pytest.mark.parametrize("limits", [{"max_requests": 1}, {"requests_per_minute": 1}])
async def test_a_key_that_has_enough_does_not_hold_up_what_others_left(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    sections, keys = with_keys(tmp_path, alice={}, bob={})
    first = ResponsesHarness(tmp_path, sections, hold_after=1)
    hers = [await begin(first, keys["alice"]) for _ in range(3)]
    his = await begin(first, keys["bob"])
    await stop(first)
    keys = with_keys(tmp_path, alice=limits, bob={})[1]
    second = ResponsesHarness(tmp_path, sections, hold_after=1)
    await second.background.tick()
    assert second.background.running == 2
    assert [run.task.tenant for run in second.worker.generated] == [
        caller.tenant for name in ("alice", "bob") if (caller := second.keys.caller_named(name))
    ]
    second.worker.release()
    await until(lambda: second.background.running == 0)
    assert (await status(second, keys["bob"], his))["status"] == "completed"
    waiting = [(await status(second, keys["alice"], ident))["status"] for ident in hers]
    assert waiting == ["completed", "in_progress", "in_progress"]


async def test_one_of_several_keys_leaves_room_in_the_background(tmp_path: Path) -> None:
    sections, keys = with_keys(tmp_path, alice={}, bob={})
    api = ResponsesHarness(tmp_path, sections | {"responses": {"max_background": 4}}, hold_after=0)
    body = {"input": "hi", "background": True}
    counts = {"alice": 0, "bob": 0}
    for name in ("alice", "alice", "alice", "bob", "bob"):
        answered = await api.call("POST", RESPONSES, keys[name], json=body)
        counts[name] += answered.status_code == 200
        if answered.status_code != 200:
            assert (answered.status_code, answered.headers["retry-after"]) == (429, "5")
    assert counts == {"alice": 2, "bob": 1}


async def test_events_that_are_too_many_are_dropped_and_followers_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FOLLOWED_BYTES", 20_000)
    api = ResponsesHarness(tmp_path, script=lambda _: ["long " * 100] * 60)
    body = {"input": "hi", "background": True, "stream": True}
    told = events((await api.call("POST", RESPONSES, json=body)).text)
    assert told[-1][0] == "error"
    ident = told[0][1]["response"]["id"]
    assert (await api.until_ended(ident))["status"] == "completed"
    assert api.background._runs.get(ident) is None
    assert (await api.call("GET", f"{RESPONSES}/{ident}?stream=true")).status_code == 400


async def test_what_a_follower_reads_comes_in_small_parts() -> None:
    made = Run("me", Answer({"status": "queued", "output": []}), is_streamed=True)
    told = [{"type": "x", "sequence_number": number, "text": "y" * 1000} for number in range(1000)]
    made.tell(told)
    made.end()
    parts = [part async for part in made.follow(-1, 1.0)]
    assert max(map(len, parts)) < 70_000
    assert [each for _, each in events(b"".join(parts).decode())] == told
