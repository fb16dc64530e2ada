"""The share that one tenant may have of the room for named states."""

import pytest

from server.stores.states.records import StatesFullError
from server.stores.states.store import NamedStates
from tests.stores.states.test_named_states import ROOM, Clock, new


def test_a_tenant_that_has_its_share_leaves_room_to_others(tmp_path):
    clock = Clock()
    store = NamedStates(tmp_path, ROOM, clock, tenant_limit_bytes=100)
    first = store.add("me", new(), bytes(60))
    store.add("me", new(ttl_seconds=9), bytes(40))
    for refused in (
        lambda: store.check_room("me", 1),
        lambda: store.add("me", new(), bytes(1)),
    ):
        with pytest.raises(StatesFullError, match=r"states\.tenant_limit_bytes = 100"):
            refused()
    store.check_room("they", 100)
    store.add("they", new(), bytes(100))
    clock.now += 10  # the second one expires
    store.check_room("me", 40)
    store.remove("me", first.id)
    store.add("me", new(), bytes(100))
    store.close()
    again = NamedStates(tmp_path, ROOM, clock, tenant_limit_bytes=10)
    assert len(again.list("me", 9)[0]) == 1, "what is there stays when the limit is lowered"
    again.close()


def test_a_tenant_of_a_shared_server_takes_no_more_than_it_leaves(tmp_path):
    store = NamedStates(tmp_path, 100)
    store.is_shared = lambda: True
    store.add("me", new(), bytes(40))
    with pytest.raises(StatesFullError, match="would leave less than that to all others"):
        store.add("me", new(), bytes(11))
    store.add("they", new(), bytes(30))
    with pytest.raises(StatesFullError, match=r"states\.limit_bytes = 100"):
        store.check_room("they", 1)
    store.check_room("third", 15)
    store.is_shared = lambda: False
    store.add("they", new(), bytes(30))
    store.close()
