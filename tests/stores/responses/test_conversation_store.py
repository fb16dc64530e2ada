"""Conversations: lists of items with metadata, each its tenant's alone."""

import pytest

from server.stores.responses.reading import to_json
from server.stores.responses.records import Page, UnknownConversationError, UnknownItemError
from tests.stores.responses.turns import ALL, item, texts


def listed(stores, ident, page):
    found = stores.conversations.items("me", ident, page)
    assert found.idents == [each["id"] for each in found.items]
    return found.items, found.has_more


def test_a_conversation_is_what_it_was_made_with(stores):
    first = item("a")
    conversation = stores.conversations.add("me", {"topic": "x"}, [first])
    assert conversation.id.startswith("conv_")
    assert conversation.created == stores.time
    assert stores.conversations.get("me", conversation.id) == conversation
    assert stores.conversations.item("me", conversation.id, first["id"]) == to_json(first)
    changed = stores.conversations.update("me", conversation.id, {"topic": "y"})
    assert changed.metadata == {"topic": "y"}
    stores.open()
    assert stores.conversations.get("me", conversation.id) == changed


def test_items_are_listed_added_and_removed(stores):
    ident = stores.conversations.add("me", {}, []).id
    assert listed(stores, ident, ALL) == ([], False)
    added = [item(text) for text in "abcd"]
    stores.conversations.add_items("me", ident, added)
    assert listed(stores, ident, Page(2)) == (added[:1:-1], True)
    assert listed(stores, ident, Page(2, added[2]["id"])) == (added[1::-1], False)
    assert stores.conversations.remove_item("me", ident, added[1]["id"]).id == ident
    assert texts(stores.conversations.context("me", ident).items) == ["a", "c", "d"]
    for missing in (added[1]["id"], "nothing"):
        with pytest.raises(UnknownItemError):
            stores.conversations.item("me", ident, missing)
        with pytest.raises(UnknownItemError):
            stores.conversations.remove_item("me", ident, missing)
        with pytest.raises(UnknownItemError):
            stores.conversations.items("me", ident, Page(2, missing))


def test_what_others_have_is_not_there(stores):
    first = item("a")
    ident = stores.conversations.add("me", {}, [first]).id
    calls = {
        "get": (),
        "update": ({},),
        "remove": (),
        "context": (),
        "add_items": ([item("b")],),
        "items": (ALL,),
        "item": (first["id"],),
        "remove_item": (first["id"],),
    }
    for name, arguments in calls.items():
        for tenant, named in (("them", ident), ("me", "conv_none")):
            with pytest.raises(UnknownConversationError):
                getattr(stores.conversations, name)(tenant, named, *arguments)
    assert texts(stores.conversations.context("me", ident).items) == ["a"]
