"""What is kept is bounded in number, bytes and time; whoever keeps little keeps it."""

import pytest
from sqlalchemy import func, select

from server.conversations.records import (
    StoreFullError,
    UnknownConversationError,
    UnknownResponseError,
)
from server.conversations.tables import items, responses, threads
from tests.conversations.turns import add, history, item

LONG = "x" * 10_000


def kept(stores, idents, tenant="me"):
    found = []
    for ident in idents:
        try:
            stores.responses.get(tenant, ident)
        except UnknownResponseError:
            continue
        found.append(ident)
    return found


def counted(stores):
    """The bytes as they are counted, and as they are."""
    with stores.database.transaction() as db:
        total = db.execute(select(func.coalesce(func.sum(threads.c.bytes), 0))).scalar_one()
        rows = [db.execute(select(table.c.size)).scalars().all() for table in (items, responses)]
        heads = db.execute(select(func.length(threads.c.metadata) + 512)).scalars().all()
    return total, sum(map(sum, rows)) + sum(heads)


def test_the_conversation_that_was_not_used_for_longest_goes_first(stores):
    stores.open(limit_bytes=51_000)
    for number in range(4):
        add(stores, f"r{number}", LONG)
        stores.time += 1
    add(stores, "again", "b", after="r0")
    stores.time += 1
    add(stores, "new", LONG)
    assert kept(stores, ["r0", "r1", "r2", "r3", "again", "new"]) == [
        "r0", "r2", "r3", "again", "new",
    ]  # fmt: skip
    assert history(stores, "again") == [LONG, "ok", "b", "ok"]
    total, real = counted(stores)
    assert total == real <= 51_000


def test_the_number_of_responses_is_bounded(stores):
    stores.open(limit=3)
    for number in range(5):
        add(stores, f"r{number}", "a")
        stores.time += 1
    assert kept(stores, [f"r{number}" for number in range(5)]) == ["r2", "r3", "r4"]
    for number in range(5, 7):
        add(stores, f"r{number}", "a", after=f"r{number - 1}")
    with pytest.raises(StoreFullError, match=r"responses\.limit"):
        add(stores, "r7", "a", after="r6")
    assert kept(stores, [f"r{number}" for number in range(8)]) == ["r4", "r5", "r6"]


def test_whoever_keeps_little_is_not_driven_out(stores):
    stores.open(limit_bytes=50_000)
    add(stores, "theirs", "a", tenant="them")
    for number in range(10):
        stores.time += 1
        add(stores, f"r{number}", LONG)
    assert kept(stores, ["theirs"], "them") == ["theirs"]
    assert kept(stores, ["r9", "r0"]) == ["r9"]


def test_one_conversation_cannot_take_more_than_all(stores):
    stores.open(limit_bytes=15_000)
    ident = stores.conversations.add("me", {}, [item(LONG)]).id
    with pytest.raises(StoreFullError, match=r"responses\.limit_bytes"):
        stores.conversations.add_items("me", ident, [item(LONG)])
    assert len(stores.conversations.context("me", ident).items) == 1


def test_what_was_not_used_for_too_long_is_gone_at_once_and_removed_later(stores):
    stores.open(ttl_seconds=100)
    add(stores, "old", "a")
    add(stores, "used", "a")
    conversation = stores.conversations.add("me", {}, []).id
    stores.time += 60
    add(stores, "more", "b", after="used")
    stores.time += 60
    assert kept(stores, ["old", "used", "more"]) == ["used", "more"]
    with pytest.raises(UnknownConversationError):
        stores.conversations.get("me", conversation)
    assert counted(stores)[0] > 4 * 512
    stores.responses.sweep()
    stores.time += 100
    stores.responses.sweep()
    assert counted(stores) == (0, 0)


def test_what_is_removed_makes_room(stores):
    add(stores, "one", LONG)
    add(stores, "two", LONG, after="one")
    conversation = stores.conversations.add("me", {"a": "b"}, [item("a"), item("b")]).id
    (first, _) = stores.conversations.context("me", conversation).items
    stores.conversations.remove_item("me", conversation, first["id"])
    stores.conversations.update("me", conversation, {})
    stores.responses.remove("me", "two")
    total, real = counted(stores)
    assert total == real < 15_000
    stores.responses.remove("me", "one")
    stores.conversations.remove("me", conversation)
    assert counted(stores) == (0, 0)
