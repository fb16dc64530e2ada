"""What is kept is bounded in number, bytes and time; whoever keeps little keeps it."""

import pytest
from sqlalchemy import func, select

from server.stores.responses.records import (
    Page,
    StoreFullError,
    TooMuchTextError,
    UnknownConversationError,
    UnknownResponseError,
)
from server.stores.responses.tables import items, responses, threads
from tests.stores.responses.turns import add, history, item

LONG = "x" * 10_000


def kept(stores, idents, tenant="me"):
    found = []
    for ident in idents:
        try:
            stores.responses.read(tenant, ident)
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


def test_too_many_of_one_take_nothing_from_another_who_has_more_text(stores):
    stores.open(limit=20)
    for number in range(4):
        add(stores, f"theirs{number}", LONG, tenant="them")
        stores.time += 1
    for number in range(40):
        add(stores, f"r{number}", "a")
        stores.time += 1
    theirs = [f"theirs{number}" for number in range(4)]
    assert kept(stores, theirs, "them") == theirs
    assert kept(stores, [f"r{number}" for number in range(40)]) == [
        f"r{number}" for number in range(24, 40)
    ]


def test_conversations_count_like_responses(stores):
    stores.open(limit=5)
    add(stores, "theirs", "a", tenant="them")
    idents = []
    for _ in range(8):
        stores.time += 1
        idents.append(stores.conversations.add("me", {}, []).id)
    with stores.database.transaction() as db:
        left = db.execute(select(threads.c.id).where(threads.c.tenant == "me")).scalars().all()
    assert sorted(left) == sorted(idents[-4:])
    assert kept(stores, ["theirs"], "them") == ["theirs"]


@pytest.mark.parametrize("flooders", [1, 2, 5])
@pytest.mark.parametrize("what", ["entries", "bytes"])
def test_two_that_flood_take_from_one_another_and_not_from_a_third(stores, flooders, what):
    bounds = {"limit": 30} if what == "entries" else {"limit_bytes": 120_000}
    stores.open(**bounds)
    add(stores, "first", "a" * 3000, tenant="quiet")
    add(stores, "second", "b", after="first", tenant="quiet")
    for number in range(30):
        for flooder in range(flooders):
            stores.time += 1
            add(stores, f"f{flooder}-{number}", "x" * 2000, tenant=f"t{flooder}")
    assert kept(stores, ["first", "second"], "quiet") == ["first", "second"]
    shares = [
        len(kept(stores, [f"f{flooder}-{n}" for n in range(30)], f"t{flooder}"))
        for flooder in range(flooders)
    ]
    assert max(shares) - min(shares) <= 1, shares
    assert min(shares) > 2


@pytest.mark.parametrize("bounds", [{"tenant_limit": 2}, {"tenant_limit_bytes": 25_000}])
def test_a_tenants_own_limit_takes_its_own_oldest(stores, bounds):
    stores.open(**bounds)
    for number in range(4):
        add(stores, f"theirs{number}", tenant="them")
        add(stores, f"r{number}", LONG)
        stores.time += 1
    assert kept(stores, [f"r{number}" for number in range(4)]) == ["r2", "r3"]
    theirs = kept(stores, [f"theirs{number}" for number in range(4)], "them")
    assert len(theirs) == (2 if "tenant_limit" in bounds else 4)
    add(stores, "r4", LONG, after="r3")
    with pytest.raises(StoreFullError, match=r"responses\.tenant_limit"):
        add(stores, "r5", LONG, after="r4")


def test_a_limit_that_was_lowered_is_kept_to_after_the_next_start(stores):
    for number in range(50):
        add(stores, f"r{number}", "a")
        if number < 3:
            add(stores, f"t{number}", "a", tenant="them")
        stores.time += 1
    stores.open(limit=10)
    assert len(kept(stores, [f"r{number}" for number in range(50)])) == 50
    stores.responses.sweep()
    assert kept(stores, [f"r{number}" for number in range(50)]) == [f"r{n}" for n in range(43, 50)]
    assert len(kept(stores, ["t0", "t1", "t2"], "them")) == 3
    total, real = counted(stores)
    assert total == real


def test_a_thread_has_so_many_items_at_most(stores, monkeypatch):
    monkeypatch.setattr("server.stores.responses.threads.MAX_ITEMS", 5)
    ident = stores.conversations.add("me", {}, [item("a")] * 3).id
    stores.conversations.add_items("me", ident, [item("a")] * 2)
    with pytest.raises(StoreFullError, match="5 items"):
        stores.conversations.add_items("me", ident, [item("a")])


def test_what_a_request_reads_is_measured_before_it_is_read(stores):
    stores.open(context_bytes=25_000)
    kept_items = [item(LONG) for _ in range(2)]
    ident = stores.conversations.add("me", {}, kept_items).id
    add(stores, "one", LONG)
    add(stores, "two", LONG, after="one")
    (first, *_) = idents = [each["id"] for each in kept_items]
    assert len(stores.responses.find_items("me", idents)) == 2
    assert len(stores.responses.find_items("me", [first, first])) == 1
    stores.conversations.context("me", ident)
    stores.responses.context("me", "two")
    stores.conversations.add_items("me", ident, [item(LONG)])
    add(stores, "three", LONG, after="two")
    for reading in (
        lambda: stores.responses.find_items("me", [first] * 3),
        lambda: stores.responses.find_items("me", [*idents, first]),
        lambda: stores.conversations.context("me", ident),
        lambda: stores.responses.context("me", "three"),
    ):
        with pytest.raises(TooMuchTextError, match=r"responses\.max_context_bytes"):
            reading()
    assert stores.responses.find_items("them", [first] * 3) == {}
    assert stores.responses.find_items("me", [f"id{n}" for n in range(20_000)]) == {}


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_page_ends_where_its_bytes_do_and_the_next_one_goes_on(stores, monkeypatch, newest_first):
    monkeypatch.setattr("server.stores.responses.reading.PAGE_BYTES", 25_000)
    said = [item(text) for text in ("a", LONG, "b", LONG, LONG, "x" * 60_000, "c")]
    ident = stores.conversations.add("me", {}, said).id
    found, sizes, after, has_more = [], [], "", True
    while has_more:
        page = stores.conversations.items("me", ident, Page(100, after, newest_first))
        assert page.bodies
        found += page.items
        sizes.append(sum(map(len, page.bodies)))
        after, has_more = page.idents[-1], page.has_more
    assert found == (said[::-1] if newest_first else said)
    assert len(sizes) == 4
    assert sorted(sizes)[-2] <= 25_000
