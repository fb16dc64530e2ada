"""Conversations as the official client sees them."""

import asyncio
from pathlib import Path

import openai
import pytest

from tests.api.harness import MODEL
from tests.api.responses_harness import CONVERSATIONS, RESPONSES, ResponsesHarness
from tests.api.test_response_events import events

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hi"}


@pytest.fixture
async def api(tmp_path: Path) -> ResponsesHarness:
    """A server's parts."""
    return ResponsesHarness(tmp_path)


async def test_a_conversation_is_made_changed_and_deleted(api: ResponsesHarness) -> None:
    async with api.sdk() as client:
        made = await client.conversations.create(metadata={"a": "b"})
        assert made.object == "conversation"
        assert await client.conversations.retrieve(made.id) == made
        changed = await client.conversations.update(made.id, metadata={"c": "d"})
        assert changed.metadata == {"c": "d"}
        assert (await client.conversations.update(made.id, metadata=None)).metadata == {}
        gone = await client.conversations.delete(made.id)
        assert (gone.id, gone.deleted, gone.object) == (made.id, True, "conversation.deleted")
        with pytest.raises(openai.NotFoundError) as missing:
            await client.conversations.retrieve(made.id)
        assert missing.value.code == "conversation_not_found"


async def test_items_are_added_listed_looked_at_and_deleted(api: ResponsesHarness) -> None:
    async with api.sdk() as client:
        ident = (await client.conversations.create()).id
        items = client.conversations.items
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        result = {"type": "function_call_output", "call_id": "c", "output": "42"}
        added = await items.create(ident, items=[USER, call, result])
        assert [item.type for item in added.data] == [
            "message", "function_call", "function_call_output",
        ]  # fmt: skip
        listed = [item async for item in items.list(ident, order="asc", limit=1)]
        assert listed == added.data
        first = added.data[0]
        assert await items.retrieve(first.id, conversation_id=ident) == first
        assert (await items.delete(first.id, conversation_id=ident)).id == ident
        with pytest.raises(openai.NotFoundError) as missing:
            await items.retrieve(first.id, conversation_id=ident)
        assert missing.value.code == "item_not_found"


async def test_responses_read_a_conversation_and_add_to_it(api: ResponsesHarness) -> None:
    async with api.sdk() as client:
        ident = (await client.conversations.create(items=[USER])).id
        first = await client.responses.create(model=MODEL, input="more", conversation={"id": ident})
        assert first.conversation is not None
        assert first.conversation.id == ident
        assert api.last_messages == [("user", "hi"), ("user", "more")]
        stream = await client.responses.create(
            model=MODEL, input="and", conversation=ident, stream=True, store=False
        )
        last = [event async for event in stream][-1]
        said = [("assistant", "Hello, wörld"), ("user", "and")]
        assert api.last_messages == [("user", "hi"), ("user", "more"), *said]
        # What is not stored is still a part of the conversation.
        items = [item async for item in client.conversations.items.list(ident, order="asc")]
        assert [item.role for item in items] == ["user", "user", "assistant", "user", "assistant"]
        assert items[-1].id == last.response.output[0].id
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(last.response.id)
        with pytest.raises(openai.BadRequestError, match="together with conversation"):
            await client.responses.create(
                model=MODEL, input="?", conversation=ident, previous_response_id=first.id
            )
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model=MODEL, input="?", conversation="conv_0")


async def test_other_tenants_do_not_see_it(api: ResponsesHarness) -> None:
    made = await api.ask("POST", CONVERSATIONS, json={"items": [USER]})
    path = f"{CONVERSATIONS}/{made['id']}"
    (item,) = (await api.ask("GET", f"{path}/items"))["data"]
    for method, url, body in (
        ("GET", path, None),
        ("POST", path, {"metadata": {}}),
        ("DELETE", path, None),
        ("GET", f"{path}/items", None),
        ("POST", f"{path}/items", {"items": [USER]}),
        ("GET", f"{path}/items/{item['id']}", None),
        ("DELETE", f"{path}/items/{item['id']}", None),
        ("POST", RESPONSES, {"input": "hi", "conversation": made["id"]}),
    ):
        refused = await api.call(method, url, key="theirs", json=body)
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "conversation_not_found"
    assert (await api.ask("GET", f"{path}/items"))["data"] == [item]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("name", ["conversation", "previous_response_id"])
async def test_what_is_deleted_while_a_response_goes_on_from_it_is_named(
    tmp_path: Path, name: str, store: bool, stream: bool
) -> None:
    api = ResponsesHarness(tmp_path, hold_after=1)
    if name == "conversation":
        path = CONVERSATIONS
        ident = (await api.ask("POST", path, json={}))["id"]
    else:
        path = RESPONSES
        api.worker.hold_after = None
        ident = (await api.respond())["id"]
        api.worker.hold_after = 1
    before = len(api.worker.generated)
    body = {"input": "hi", name: ident, "store": store, "stream": stream}
    asking = asyncio.create_task(api.call("POST", RESPONSES, json=body))
    await api.worker.until(lambda: len(api.worker.generated) > before)
    await api.ask("DELETE", f"{path}/{ident}")
    api.worker.release()
    response = await asking
    if name == "previous_response_id" and not store:
        assert response.status_code == 200  # nothing is kept, so nothing is missing
        assert "deleted" not in response.text
        return
    assert f"{name}: was deleted while the response was made" in response.text
    if stream:
        assert events(response.text)[-1][0] == "response.failed"
    else:
        assert response.status_code == 404
        assert response.json()["error"]["param"] == name
