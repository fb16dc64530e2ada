"""Redis: what it keeps for how long, and what happens when it goes and comes back."""

import logging
import os

import pytest
import redis

from server.state_cache.keys import space_of
from server.state_cache.shared_store import SharedStore
from server.state_cache.store import StoreUnavailable

SPACE = space_of("model", "")
KEY = os.urandom(16)


@pytest.fixture
def client(shared_redis, shared):  # noqa: ARG001
    """Of the same database, once it has been emptied."""
    with redis.Redis.from_url(shared_redis.url) as client:
        yield client


def test_everything_expires_and_use_puts_that_off(shared, client):
    shared.write(SPACE, KEY, 3, False, b"x")
    names = client.keys()
    assert len(names) == 2
    for name in names:
        assert 0 < client.ttl(name) <= 60
        client.expire(name, 5)
    shared.read(SPACE, KEY, 3)
    assert all(client.ttl(name) > 5 for name in names)


def test_the_longest_unused_lengths_are_forgotten(shared, monkeypatch):
    monkeypatch.setattr("server.state_cache.shared_store.MOST_LENGTHS", 3)
    shared.write(SPACE, KEY, 500, False, b"x")
    shared.write(SPACE, os.urandom(16), 1, False, b"x")
    shared.write(SPACE, os.urandom(16), 2, False, b"x")
    shared.read(SPACE, KEY, 500)
    shared.write(SPACE, os.urandom(16), 3, False, b"x")
    assert shared.lengths(SPACE, 0, 1000) == [500, 3, 2]


def test_only_what_is_ours_is_cleared(shared, client):
    client.set("of somebody else", 1)
    for _ in range(50):
        shared.write(SPACE, os.urandom(16), 3, False, b"x")
    shared.clear()
    assert client.keys() == [b"of somebody else"]
    client.flushdb()


def test_values_of_another_type_are_absent_and_replaced(shared, client):
    client.set(f"rwkv-server:state:{KEY.hex()}", "text")
    assert shared.present([KEY]) == {}
    assert shared.write(SPACE, KEY, 3, True, b"x")
    assert shared.read(SPACE, KEY, 3) == b"x"
    client.zadd(f"rwkv-server:lengths:{SPACE}", {"nonsense": 1, "-4": 2, "9" * 30: 3})
    assert shared.lengths(SPACE, 0, 1000) == [3]


def test_what_is_too_large_is_not_written(shared, monkeypatch):
    monkeypatch.setattr("server.state_cache.shared_store.MOST_PAYLOAD_BYTES", 9)
    assert not shared.write(SPACE, KEY, 3, False, bytes(10))
    assert shared.write(SPACE, KEY, 3, False, bytes(9))


def test_a_server_that_goes_is_left_alone_and_comes_back(redis_server, caplog):
    caplog.set_level(logging.INFO, "server")
    now = 0.0
    store = SharedStore(redis_server.url, 60, lambda: now)
    assert store.write(SPACE, KEY, 3, False, b"x")
    redis_server.stop()
    pauses = []
    for _ in range(7):
        with pytest.raises(StoreUnavailable):
            store.read(SPACE, KEY, 3)
        errors, began = store.errors, now
        while store.errors == errors:  # until it is tried again
            now += 0.5
            with pytest.raises(StoreUnavailable):
                store.lengths(SPACE, 0, 9)
        pauses.append(now - began)
        errors = store.errors
        with pytest.raises(StoreUnavailable):
            store.write(SPACE, KEY, 3, False, b"x")
        assert store.errors == errors
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    redis_server.start()
    now += 30
    assert store.read(SPACE, KEY, 3) is None
    assert store.write(SPACE, KEY, 3, False, b"y")
    assert store.read(SPACE, KEY, 3) == b"y"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_full_server_is_still_read(redis_server, caplog):
    store = SharedStore(redis_server.url, 60, lambda: 0.0)
    store.write(SPACE, KEY, 3, False, b"x")
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", 1)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.write(SPACE, os.urandom(16), 4, False, b"x")
        assert store.read(SPACE, KEY, 3) == b"x"
    assert store.errors == 1
    assert len(caplog.records) == 1


def test_a_server_that_hangs_is_given_up(redis_server):
    store = SharedStore(redis_server.url, 60)
    store.write(SPACE, KEY, 3, False, b"x")
    redis_server.pause()
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            store.read(SPACE, KEY, 3)
    assert store.errors < 5
    redis_server.resume()


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost", "http://h", "redis://", "unix://", "redis://[", "redis://:pa/ss@h:1"),
        *("redis://h:x", "redis://h:99999", "redis://h?db=x", "redis://h?nonsense=1"),
    ],
)
def test_other_urls_are_refused_without_repeating_them(url):
    with pytest.raises(ValueError, match="shared_url: not a URL of Redis") as caught:
        SharedStore(url, 60)
    assert "pa" not in str(caught.value).replace("PATH", "").replace("want", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://u:p@h:1/2", "rediss://h:1/2", "unix:///s?db=1"]
)
def test_urls_are_accepted_without_connecting(url):
    assert SharedStore(url, 60).errors == 0


def test_passwords_are_not_logged(redis_server, caplog):
    path = redis_server.url.removeprefix("unix://")
    with redis.Redis(unix_socket_path=path) as client:
        client.config_set("requirepass", "right-secret")
    for store in (
        SharedStore(f"unix://:wrong-secret@{path}", 60),
        SharedStore("redis://user:wrong-secret@127.0.0.1:1/0?socket_timeout=99", 60),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            store.read(SPACE, KEY, 3)
        assert "secret" not in str(caught.value)
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    right = SharedStore(f"unix://:right-secret@{path}", 60)
    assert right.read(SPACE, KEY, 3) is None
