"""Whatever a server of Redis answers: a miss, counted, and never an exception or gigabytes."""

import itertools
import logging
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.state_cache import shared_store
from server.state_cache.shared_store import SharedStore
from server.state_cache.store import MOST_LENGTHS, StoreUnavailable
from tests.state_cache.lying_redis import lying_redis

SPACE, KEY = "space", bytes(16)
OPERATIONS = {
    "prepare": lambda store: store.prepare(),
    "lengths": lambda store: store.lengths(SPACE, 0, 1000),
    "present": lambda store: store.present([KEY, bytes(15) + b"x"]),
    "read": lambda store: store.read(SPACE, KEY, 3),
    "write": lambda store: store.write(SPACE, KEY, 3, True, b"payload"),
    "remove": lambda store: store.remove(KEY),
    "clear": lambda store: store.clear(),
    "usage": lambda store: store.usage(),
}
FORMS = {
    "prepare": lambda found: found is None,
    "lengths": lambda found: all(type(each) is int and 0 < each <= 1000 for each in found),
    "present": lambda found: all(
        type(key) is bytes and type(flag) is bool for key, flag in found.items()
    ),
    "read": lambda found: found is None or type(found) is bytes,
    "write": lambda found: type(found) is bool,
    "remove": lambda found: found is None,
    "clear": lambda found: found is None,
    "usage": lambda found: all(type(each) is int for each in found),
}
NONSENSE = [
    b":7\r\n", b":-1\r\n", b":99999999999999999999999\r\n", b":x\r\n", b":" + b"9" * 5000 + b"\r\n",
    b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
    b"$0\r\n\r\n", b"$3\r\nabc\r\n", b"$-7\r\nabc\r\n", b"$x\r\n",
    b"+OK\r\n", b"+QUEUED\r\n", b"+\r\n", b"*2\r\n$1\r\n0\r\n*0\r\n", b"*2\r\n:0\r\n:0\r\n",
    b"*2\r\n$1\r\nz\r\n*1\r\n$1\r\nk\r\n", b"*1\r\n*1\r\n*1\r\n:1\r\n", b"*1\r\n" * 5000,
    b"*3\r\n$-1\r\n:3\r\n$2\r\n12\r\n", b"*2\r\n$2\r\n12\r\n$900000\r\n12\r\n",
    b"-ERR no\r\n", b"-\r\n", b"-LOADING Redis is loading\r\n", b"-MOVED 1 10.0.0.1:1\r\n",
    b"-ASK 1 10.0.0.1:1\r\n", b"-NOAUTH Authentication required.\r\n", b"-WRONGPASS no\r\n",
    b"-WRONGTYPE other\r\n", b"-READONLY\r\n", b"-OOM no memory\r\n", b"-EXECABORT\r\n",
    b"-NOSCRIPT \xff\xfe\x1b[31m\r\n", b"-ERR " + b"x" * 9000 + b"\r\n",
    b"%1\r\n+a\r\n:1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(99\r\n", b"~1\r\n:1\r\n",
    b">2\r\n+invalidate\r\n*0\r\n", b"=5\r\ntxt:a\r\n",
    b"|1\r\n+a\r\n+b\r\n", b"HTTP/1.1 400 Bad\r\n\r\n",
    b"\r\n", b"\n", b"\0" * 100, b"\x16\x03\x01\x02\x00", b"*2\r\n$2\r\n12\r\n", b"",
]  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with lying_redis() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is waited for does not come."""
    monkeypatch.setitem(shared_store._OPTIONS, "socket_timeout", 0.05)
    monkeypatch.setattr(shared_store, "OPERATION_SECONDS", 0.3)
    monkeypatch.setattr(shared_store, "CLEAR_SECONDS", 0.1)


def ask(server, name, reply):
    """What an operation returns; None if the store is unavailable, which is counted."""
    server.reply = reply
    store = SharedStore(server.url, 60, snapshot_bytes=1000)
    found, why = None, ""
    try:
        found = OPERATIONS[name](store)
    except StoreUnavailable as error:
        why = str(error)
    store.close()
    if why:
        assert store.errors >= 1
        assert len(why) < 400
        assert why.isprintable()
    else:
        assert FORMS[name](found)
    return found


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda each: repr(each[:24]))
@pytest.mark.parametrize("name", OPERATIONS)
def test_nonsense_is_a_miss(server, name, nonsense):
    assert ask(server, name, lambda _: nonsense) in (None, [], {}, False, True, b"abc") or (
        name == "lengths"
    )
    ask(server, name, lambda _: nonsense or None)


frames = st.recursive(
    st.sampled_from(NONSENSE)
    | st.binary(max_size=40)
    | st.integers(-3, 2000).map(lambda n: b":%d\r\n" % n)
    | st.binary(max_size=12).map(lambda data: b"$%d\r\n%s\r\n" % (len(data), data)),
    lambda inner: st.lists(inner, max_size=5).map(
        lambda parts: b"*%d\r\n%s" % (len(parts), b"".join(parts))
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(OPERATIONS)), st.lists(frames, min_size=1, max_size=6))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_frames(server, name, replies):
    endless = itertools.cycle(replies)
    ask(server, name, lambda _: next(endless))


def test_a_payload_that_is_announced_too_large_is_not_fetched(server):
    asked = []

    def reply(command):
        asked.append(command[0])
        return b":200000\r\n" if command[0] == b"HSTRLEN" else b"$3\r\nabc\r\n"

    assert ask(server, "read", reply) is None
    assert b"HGET" not in asked


def gigabytes(head):
    yield head
    yield from itertools.repeat(b"x" * 65536, 16_000)


@pytest.mark.parametrize(
    "head", [b"$999999999999\r\n", b"+", b"-ERR ", b"*4294967295\r\n$70000000\r\n"]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_reply_is_read_beyond_what_it_can_be(server, monkeypatch, name, head):
    monkeypatch.setattr(shared_store, "OPERATION_SECONDS", 30.0)
    tracemalloc.start()
    assert ask(server, name, lambda _: gigabytes(head)) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 32 << 20


def test_gigabytes_of_a_payload_of_the_right_length(server):
    def reply(command):
        return b":1000\r\n" if command[0] == b"HSTRLEN" else gigabytes(b"$1000000000\r\n")

    assert ask(server, "read", reply) is None


def drip():
    for byte in itertools.cycle(b"x"):
        time.sleep(0.01)
        yield bytes((byte,))


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_drips_is_given_up(server, name):
    began = time.monotonic()
    assert ask(server, name, lambda _: itertools.chain([b"$100000\r\n"], drip())) is None
    assert time.monotonic() - began < 5


def test_a_scan_without_end_is_given_up(server):
    assert ask(server, "clear", lambda _: b"*2\r\n$1\r\n7\r\n*0\r\n") is None


def test_only_our_keys_are_removed(server):
    removed = []

    def reply(command):
        if command[0] == b"SCAN":
            return b"*2\r\n$1\r\n0\r\n*2\r\n$5\r\nother\r\n$17\r\nrwkv-server:state\r\n"
        removed.extend(command)
        return b":1\r\n"

    ask(server, "clear", reply)
    assert removed == [b"UNLINK", b"rwkv-server:state"]


def test_lengths_are_bounded(server):
    members = b"".join(b"$4\r\n%04d\r\n" % number for number in range(9000))
    server.reply = lambda _: b"*9000\r\n" + members
    store = SharedStore(server.url, 60)
    assert len(store.lengths(SPACE, 0, 10**6)) <= MOST_LENGTHS
    store.close()


def test_what_was_left_unread_is_no_reply_to_the_next_question(server):
    def reply(command):
        if command[0] == b"HSTRLEN":
            return b":5\r\n"
        # Two replies for one question: the second one would be taken for the next answer.
        return b"$5\r\nfirst\r\n$6\r\nsecond\r\n" if command[0] == b"HGET" else b"$1\r\n1\r\n"

    server.reply = reply
    store = SharedStore(server.url, 60, snapshot_bytes=1000)
    for _ in range(3):
        try:
            assert store.read(SPACE, KEY, 3) in (None, b"first")
        except StoreUnavailable:
            break
    store.close()


def test_one_warning_however_often_it_lies(server, caplog):
    caplog.set_level(logging.INFO, "server")
    server.reply = lambda _: b"-\x1b[2J" + b"x" * 9000 + b"\r\n"
    now = 0.0
    store = SharedStore(server.url, 60, lambda: now)
    for _ in range(50):
        now += 0.1
        with pytest.raises(StoreUnavailable):
            store.read(SPACE, KEY, 3)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert len(record.getMessage()) < 400
    assert record.getMessage().isprintable()
    store.close()
