"""Responses as the official client sees them: made, gone on from, listed, deleted."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from server.stores.responses import database
from tests.api.harness import MODEL, serving
from tests.api.responses_harness import RESPONSES, ResponsesHarness

pytestmark = pytest.mark.anyio

HELLO = "Hello, wörld"


@pytest.fixture
async def api(tmp_path: Path) -> ResponsesHarness:
    """A server's parts."""
    return ResponsesHarness(tmp_path)


async def test_a_response_has_every_field_and_repeats_what_was_asked(api: ResponsesHarness) -> None:
    asked = {
        "instructions": "be brief", "metadata": {"a": "b"}, "max_output_tokens": 50,
        "temperature": 0.5, "top_p": 0.9, "user": "someone", "safety_identifier": "x",
        "prompt_cache_key": "k", "truncation": "auto", "parallel_tool_calls": False,
        "max_tool_calls": 3, "presence_penalty": 0.5,
    }  # fmt: skip
    body = asked | {
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "service_tier": "flex",
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "none",
        "seed": 7,
        "top_k": 5,
        "stop": ["!"],
    }
    response = await api.respond(**body)
    assert response.keys() >= Response.model_fields.keys()
    assert {name: response[name] for name in asked} == asked
    assert response["object"] == "response"
    assert response["status"] == "completed"
    assert response["completed_at"] >= response["created_at"]
    assert response["reasoning"] == body["reasoning"]
    assert response["text"] == body["text"]
    assert response["service_tier"] == "default"
    assert response["usage"] == {
        "input_tokens": len("system: be brief\n\nuser: hi\n\nassistant:"),
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 41,
    }
    params = api.worker.generated[0].task.params
    assert (params.seed, params.top_k, params.max_tokens) == (7, 5, 50)
    assert "!" in params.stop
    assert await api.ask("GET", f"{RESPONSES}/{response['id']}") == response


async def test_an_answer_that_was_cut_is_incomplete(api: ResponsesHarness) -> None:
    response = await api.respond(max_output_tokens=1)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None
    assert response["output"][0]["status"] == "incomplete"


async def test_the_next_turn_reads_all_that_was_said_but_not_the_instructions(
    api: ResponsesHarness,
) -> None:
    async with api.sdk() as client:
        first = await client.responses.create(model=MODEL, input="hi", instructions="be brief")
        assert first.output_text == HELLO
        assert api.last_messages == [("system", "be brief"), ("user", "hi")]
        second = await client.responses.create(
            model=MODEL,
            previous_response_id=first.id,
            input=[
                {"role": "developer", "content": "now be long"},
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"},
                ]},
            ],
        )  # fmt: skip
        turns = [("user", "hi"), ("assistant", HELLO), ("developer", "now be long")]
        assert api.last_messages == [*turns, ("user", "a\nb")]
        assert second.previous_response_id == first.id
        counted = await client.responses.input_tokens.count(
            model=MODEL, previous_response_id=first.id, input="more"
        )
        text = f"user: hi\n\nassistant: {HELLO}\n\nuser: more\n\nassistant:"
        assert counted.input_tokens == len(text.encode())
        listed = [item async for item in client.responses.input_items.list(second.id, limit=2)]
        assert [item.type for item in listed] == ["message"] * 4
        assert [item.role for item in listed] == ["user", "developer", "assistant", "user"]
        api.template.rendered.clear()
        reused = {"type": "item_reference", "id": first.output[0].id}
        await client.responses.create(model=MODEL, input=[reused, {"role": "user", "content": "?"}])
        assert api.last_messages == [("assistant", HELLO), ("user", "?")]


async def test_a_stored_conversation_is_the_same_prompt_as_one_that_is_sent_again(
    api: ResponsesHarness,
) -> None:
    async with api.sdk() as client:
        first = await client.responses.create(model=MODEL, input="hi")
        user = {"role": "user", "content": "more"}
        await client.responses.create(model=MODEL, input=[user], previous_response_id=first.id)
        sent = [{"role": "user", "content": "hi"}, *first.output, user]
        await client.responses.create(model=MODEL, input=sent, store=False)
    stored, again = (generate.task.prompt_ids for generate in api.worker.generated[1:])
    assert stored == again


async def test_what_is_not_stored_leaves_nothing(api: ResponsesHarness) -> None:
    async with api.sdk() as client:
        response = await client.responses.create(model=MODEL, input="hi", store=False)
        assert response.output_text == HELLO
        for call in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError) as missing:
                await call(response.id)
            assert missing.value.code == "response_not_found"
        with pytest.raises(openai.BadRequestError) as previous:
            await client.responses.create(model=MODEL, input="hi", previous_response_id=response.id)
        assert previous.value.code == "previous_response_not_found"
        assert previous.value.param == "previous_response_id"
        reference = {"type": "item_reference", "id": response.output[0].id}
        with pytest.raises(openai.NotFoundError) as item:
            await client.responses.create(model=MODEL, input=[reference])
        assert (item.value.code, item.value.param) == ("item_not_found", "input")


async def test_deleted_responses_are_gone(api: ResponsesHarness) -> None:
    async with api.sdk() as client:
        first = await client.responses.create(model=MODEL, input="hi")
        second = await client.responses.create(
            model=MODEL, input="more", previous_response_id=first.id
        )
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)
        await client.responses.create(model=MODEL, input="?", previous_response_id=second.id)
        assert ("user", "hi") in api.last_messages


async def test_the_synchronous_client(api: ResponsesHarness) -> None:
    def talk(base: str) -> list[str]:
        with OpenAI(base_url=f"{base}/v1", api_key="mine") as client:
            first = client.responses.create(model=MODEL, input="hi")
            kept = client.responses.retrieve(first.id)
            stream = client.responses.create(model=MODEL, input="hi", stream=True)
            streamed = "".join(
                event.delta for event in stream if event.type == "response.output_text.delta"
            )
            with client.responses.stream(
                model=MODEL, input="hi", previous_response_id=first.id
            ) as events:
                final = events.get_final_response()
            conversation = client.conversations.create(items=[{"role": "user", "content": "hi"}])
            answer = client.responses.create(model=MODEL, conversation=conversation.id)
            items = client.conversations.items.list(conversation.id)
            assert [item.type for item in items] == ["message"] * 2
            return [kept.output_text, streamed, final.output_text, answer.output_text]

    async with serving(api.app) as base:
        assert await asyncio.to_thread(talk, base) == [HELLO] * 4


async def test_other_tenants_do_not_see_what_is_kept(api: ResponsesHarness) -> None:
    mine = await api.respond()
    path = f"{RESPONSES}/{mine['id']}"
    for method, url in (
        ("GET", path), ("DELETE", path), ("GET", f"{path}/input_items"), ("POST", f"{path}/cancel"),
    ):  # fmt: skip
        refused = await api.call(method, url, key="theirs")
        unknown = await api.call(method, url.replace(mine["id"], "resp_0"), key="theirs")
        assert refused.status_code == unknown.status_code == 404
        assert refused.text.replace(mine["id"], "resp_0") == unknown.text
    body = {"input": "hi", "previous_response_id": mine["id"]}
    refused = await api.call("POST", RESPONSES, key="theirs", json=body)
    assert refused.json()["error"]["code"] == "previous_response_not_found"
    assert await api.ask("GET", path) == mine


async def test_a_server_that_keeps_nothing_answers_all_the_same(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, {"responses": {"limit_bytes": 0}})
    response = await api.respond()
    assert response["store"] is False
    for body in ({"store": True}, {"background": True}, {"previous_response_id": "resp_1"}):
        refused = await api.call("POST", RESPONSES, json={"input": "hi"} | body)
        assert refused.json()["error"]["code"] == "responses_disabled"
    assert not list(tmp_path.iterdir())


async def test_nothing_is_computed_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    api = ResponsesHarness(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / database.FILE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await api.call("POST", RESPONSES, json={"input": "hi"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "responses_unavailable"
        assert not api.worker.generated
        assert (await api.respond(store=False))["status"] == "completed"
    assert (await api.respond())["status"] == "completed"


async def test_it_is_counted_as_an_operation_of_its_own(api: ResponsesHarness) -> None:
    await api.respond()
    registry = api.app.state.service.metrics.registry
    labels = {"gen_ai_operation_name": "responses", "gen_ai_request_model": MODEL}
    name = "gen_ai_server_request_duration_seconds_count"
    assert registry.get_sample_value(name, labels) == 1
