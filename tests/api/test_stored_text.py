"""How much of what is kept one request may read, and pages that are large."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.stores.responses import reading
from tests.access.keys_files import write_keys
from tests.api.harness import assert_error
from tests.api.responses_harness import CONVERSATIONS, RESPONSES, ResponsesHarness

pytestmark = pytest.mark.anyio

LONG = "x" * 10_000
LIMITED = {"responses": {"max_context_bytes": 25_000}}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


async def conversation_of(api: ResponsesHarness, *texts: str) -> tuple[str, list[str]]:
    """A conversation, and the ids of its items."""
    ident = (await api.ask("POST", CONVERSATIONS, json={}))["id"]
    path = f"{CONVERSATIONS}/{ident}/items"
    added = [
        (await api.ask("POST", path, json={"items": [said(text)]}))["data"][0]["id"]
        for text in texts
    ]
    return ident, added


def refer(*idents: str) -> list[dict[str, str]]:
    return [{"type": "item_reference", "id": ident} for ident in idents]


@pytest.mark.parametrize("way", ["thrice", "many times", "different", "without a type"])
@pytest.mark.parametrize("path", ["respond", "stream", "background", "count", "make", "add"])
async def test_what_a_request_refers_to_is_bounded(tmp_path: Path, path: str, way: str) -> None:
    api = ResponsesHarness(tmp_path, LIMITED)
    ident, (first, second) = await conversation_of(api, LONG, LONG)
    refs = {
        "thrice": refer(first, first, first),
        "many times": refer(*[first] * 20),
        "different": refer(first, second, first),
        "without a type": [{"id": first}] * 3,
    }[way]
    where, name = {
        "respond": (RESPONSES, "input"),
        "stream": (RESPONSES, "input"),
        "background": (RESPONSES, "input"),
        "count": (f"{RESPONSES}/input_tokens", "input"),
        "make": (CONVERSATIONS, "items"),
        "add": (f"{CONVERSATIONS}/{ident}/items", "items"),
    }[path]
    extra = {path: True} if path in ("stream", "background") else {}
    refused = await api.call("POST", where, json={name: refs} | extra)
    error = assert_error(refused, 400, "context_length_exceeded")
    assert "responses.max_context_bytes" in error["message"]
    assert not api.worker.generated
    assert (await api.call("POST", where, json={name: refs[:2]} | extra)).status_code == 200


async def test_a_history_is_bounded_in_all_its_forms(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, LIMITED)
    conversation, _ = await conversation_of(api, LONG, LONG, LONG)
    previous = None
    for _ in range(3):
        fields = {"previous_response_id": previous} if previous else {}
        previous = (await api.respond(input=LONG, **fields))["id"]
    before = len(api.worker.generated)
    for name, ident in (("conversation", conversation), ("previous_response_id", previous)):
        refused = await api.call("POST", RESPONSES, json={"input": "hi", name: ident})
        error = assert_error(refused, 400, "context_length_exceeded")
        assert error["param"] == name
    assert len(api.worker.generated) == before
    # They can still be read, page by page, and what is too much of it deleted.
    items = await api.ask("GET", f"{CONVERSATIONS}/{conversation}/items")
    path = f"{CONVERSATIONS}/{conversation}/items/{items['data'][0]['id']}"
    await api.ask("DELETE", path)
    await api.respond(conversation=conversation)


async def test_pages_end_where_their_bytes_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_BYTES", 25_000)
    api = ResponsesHarness(tmp_path)
    conversation, idents = await conversation_of(api, "a", LONG, "b", "x" * 60_000, LONG, LONG)
    response = await api.respond(conversation=conversation)
    for path in (
        f"{CONVERSATIONS}/{conversation}/items",
        f"{RESPONSES}/{response['id']}/input_items",
    ):
        found, after, has_more = [], "", True
        while has_more:
            query = {"order": "asc", "limit": 100, "after": after}
            page = await api.ask("GET", path, params=query)
            assert 0 < len(page["data"]) <= 4
            assert (page["first_id"], page["last_id"]) == (
                page["data"][0]["id"],
                page["data"][-1]["id"],
            )
            found += [item["id"] for item in page["data"]]
            after, has_more = page["last_id"], page["has_more"]
        assert found[: len(idents)] == idents
        foreign = await api.call("GET", path, "theirs", params={"after": idents[0]})
        assert foreign.status_code == 404
        assert_error(await api.call("GET", path, params={"after": "msg_no"}), 404, "item_not_found")


async def test_a_flood_of_one_key_takes_nothing_from_another(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml", {"alice": {}, "bob": {}})
    sections = {
        "http": {"keys_file": str(tmp_path / "keys.toml")},
        "responses": {"limit": 10},
    }
    api = ResponsesHarness(tmp_path, sections)
    hers = [
        (await api.ask("POST", RESPONSES, keys["alice"], json={"input": LONG}))["id"]
        for _ in range(4)
    ]
    bodies = [{"input": "a"}] * 15
    await asyncio.gather(*(api.ask("POST", RESPONSES, keys["bob"], json=body) for body in bodies))
    for _ in range(10):
        await api.ask("POST", CONVERSATIONS, keys["bob"], json={})
    for ident in hers:
        await api.ask("GET", f"{RESPONSES}/{ident}", keys["alice"])
