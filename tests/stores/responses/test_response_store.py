"""Responses that go on from one another: what each has read, who sees it, what a removal does."""

import threading

import msgspec
import pytest

from server.stores.responses.reading import item_of, to_json
from server.stores.responses.records import (
    Context,
    NewResponse,
    Page,
    Unfinished,
    UnknownConversationError,
    UnknownItemError,
    UnknownResponseError,
)
from tests.stores.responses.turns import ALL, add, history, inputs, item, new, response, texts


def test_a_response_has_read_all_that_it_goes_on_from(stores):
    add(stores, "one", "a")
    add(stores, "two", "b", "c", after="one")
    add(stores, "branch", "d", after="one", outputs=("no", "yes"))
    add(stores, "other", "x")
    assert response(stores, "two") == {"id": "two", "status": "completed"}
    assert inputs(stores, "two") == ["a", "ok", "b", "c"]
    assert history(stores, "two") == ["a", "ok", "b", "c", "ok"]
    assert history(stores, "branch") == ["a", "ok", "d", "no", "yes"]
    assert history(stores, "other") == ["x", "ok"]


def test_input_items_come_in_pages(stores):
    add(stores, "one", "a", "b")
    add(stores, "two", "c", after="one")
    for newest_first, expected in ((False, ["a", "b", "ok", "c"]), (True, ["c", "ok", "b", "a"])):
        found, after, has_more = [], "", True
        while has_more:
            page = Page(3, after, newest_first)
            part = stores.responses.input_items("me", "two", page)
            found += texts(part.items)
            after, has_more = part.idents[-1], part.has_more
        assert found == expected
    with pytest.raises(UnknownItemError):
        stores.responses.input_items("me", "two", Page(3, "nothing"))


def test_what_others_have_is_not_there(stores):
    add(stores, "one", "a")
    (kept,) = stores.responses.input_items("me", "one", ALL).items
    assert stores.responses.find_items("me", [kept["id"]]) == {kept["id"]: kept}
    assert stores.responses.find_items("them", [kept["id"]]) == {}
    for method in ("read", "read_about", "get_unfinished", "context", "remove"):
        for tenant, ident in (("them", "one"), ("me", "o\0ne"), ("me", "")):
            with pytest.raises(UnknownResponseError):
                getattr(stores.responses, method)(tenant, ident)
    assert stores.responses.find_items("me", ["\0"]) == {}
    with pytest.raises(UnknownResponseError):
        stores.responses.input_items("them", "one", ALL)
    context = stores.responses.context("me", "one")[0]
    with pytest.raises(UnknownResponseError):
        stores.responses.add("them", context, new("two", "b"))


def test_a_removed_response_stays_as_the_history_of_others_and_no_longer(stores):
    add(stores, "one", "a")
    add(stores, "two", "b", after="one")
    add(stores, "three", "c", after="two")
    first, *_ = stores.responses.input_items("me", "one", ALL).items
    for ident in ("one", "two"):
        stores.responses.remove("me", ident)
        with pytest.raises(UnknownResponseError):
            response(stores, ident)
    assert history(stores, "three") == ["a", "ok", "b", "ok", "c", "ok"]
    stores.responses.remove("me", "three")
    assert not stores.responses.find_items("me", [first["id"]])


def test_a_response_of_a_conversation_adds_to_it_and_reads_what_was_there(stores):
    conversation = stores.conversations.add("me", {}, [item("begin")]).id
    context = stores.conversations.context("me", conversation)
    stores.responses.add("me", context, new("one", "a"))
    stores.conversations.add_items("me", conversation, [item("between")])
    context = stores.conversations.context("me", conversation)
    assert texts(context.items) == ["begin", "a", "ok", "between"]
    stores.responses.add("me", context, new("two", "b"))
    assert inputs(stores, "one") == ["begin", "a"]
    assert inputs(stores, "two") == ["begin", "a", "ok", "between", "b"]
    # One that only goes on from a response of it is no part of it.
    add(stores, "aside", "c", after="one")
    assert history(stores, "aside") == ["begin", "a", "ok", "c", "ok"]
    stores.responses.remove("me", "two")
    found = stores.conversations.items("me", conversation, ALL).items
    assert texts(found) == ["begin", "a", "ok", "between", "b", "ok"]
    stores.conversations.remove("me", conversation)
    with pytest.raises(UnknownResponseError):
        response(stores, "one")
    with pytest.raises(UnknownConversationError):
        stores.responses.add("me", context, new("three", "c"))


def test_who_makes_a_response_and_who_cancels_it_agree(stores):
    conversation = stores.conversations.add("me", {}, []).id
    context = stores.conversations.context("me", conversation)
    for ident in ("made", "cancelled"):
        stores.responses.add("me", context, new(ident, ident, status="queued", request={"a": 1}))
        unfinished = stores.responses.get_unfinished("me", ident)
        assert unfinished == {"id": ident, "status": "queued"}
    assert stores.responses.advance({"id": "made", "status": "in_progress"})
    assert stores.responses.advance({"id": "cancelled", "status": "cancelled"})
    for ident in ("made", "cancelled"):
        is_first = stores.responses.advance({"id": ident, "status": "completed"}, [item("ok")])
        assert is_first == (ident == "made")
        assert response(stores, ident)["status"] == (
            "completed" if ident == "made" else "cancelled"
        )
        assert stores.responses.get_unfinished("me", ident) is None
    found = stores.conversations.items("me", conversation, ALL).items
    assert texts(found) == ["made", "ok"]
    assert not stores.responses.advance({"id": "unknown", "status": "completed"})


def test_what_has_no_lease_is_claimed_once_with_all_that_it_was_made_from(stores):
    add(stores, "one", "a")
    request = {"seed": 1}
    for ident in ("two", "three"):
        unfinished = {"status": "queued", "request": request, "lease_until": stores.time + 10}
        add(stores, ident, "b", after="one", **unfinished)
    assert stores.responses.claim(stores.time + 20, 5) == []
    assert stores.responses.renew(["one", "two", "none"], stores.time + 20) == {"two"}
    stores.time += 11
    (found,) = stores.responses.claim(stores.time + 10, 5)
    assert isinstance(found, Unfinished)
    assert (found.tenant, found.body["id"], found.request) == ("me", "three", request)
    assert texts(found.context.items) == ["a", "ok"]
    assert texts(found.input_items) == ["b"]
    assert found.context.parent is not None
    stores.time += 11
    assert [each.body["id"] for each in stores.responses.claim(stores.time + 10, 1)] == ["two"]


def test_claims_of_two_servers_do_not_overlap(stores):
    for number in range(20):
        add(stores, f"r{number}", "a", status="queued", request={"seed": 1})
    stores.time += 1
    claimed, first = [], stores.responses
    stores.open()

    def claim(responses):
        while found := responses.claim(stores.time + 10, 3):
            claimed.extend(each.body["id"] for each in found)

    servers = [threading.Thread(target=claim, args=(each,)) for each in (first, stores.responses)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert sorted(claimed) == sorted(f"r{number}" for number in range(20))


def test_log_probabilities_of_long_items_stay_json(stores):
    logprobs = [{"token": "é", "logprob": -1.5, "bytes": None, "top_logprobs": []}] * 2000
    part = {"type": "output_text", "text": "hé", "annotations": [{"a": 1}], "logprobs": logprobs}
    long = item("x") | {"role": "assistant", "content": [part, part | {"logprobs": []}]}
    stores.responses.add("me", Context(), NewResponse({"id": "one", "status": "completed"}, [long]))
    (read,) = stores.responses.context("me", "one")[0].items
    assert read["content"][0] | {"logprobs": logprobs} == part
    assert [type(each["logprobs"]) for each in read["content"]] == [msgspec.Raw] * 2
    (again,) = stores.responses.find_items("me", [long["id"]]).values()
    # Kept again they are the same bytes.
    assert to_json(again) == to_json(read) == to_json(long)
    plain = item("x") | {"content": "x" * 100_000, "extra": [1, {"b": None}]}
    assert item_of(to_json(plain)) == plain
