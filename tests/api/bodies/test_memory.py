"""What bodies take of memory is bounded, and whoever waits for room gets it or an answer."""

import asyncio

import pytest

from server.api.errors import ApiError, ClientGoneError
from tests.api.bodies.memory_server import (
    AHEAD,
    BOUND,
    FREE,
    Client,
    Server,
    end,
    in_time,
    set_few_bytes,
    settle,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that bodies of some bytes reach."""
    set_few_bytes(monkeypatch)


@pytest.mark.usefixtures("few_bytes")
async def test_beyond_the_bound_bodies_wait_unread() -> None:
    server = Server()
    first, *others = (Client(server) for _ in range(6))
    for client in (first, *others):
        for _ in range(40):
            client.send(AHEAD)
    for _ in range(40):
        await settle()
    assert first.read == 40 * AHEAD  # it is the oldest
    # The first bytes that count are not known before.
    assert BOUND - AHEAD < server.memory.held <= BOUND + 6 * AHEAD
    assert server.held <= BOUND + 6 * (AHEAD + FREE)
    assert sum(client.read < 40 * AHEAD for client in others) >= 3
    await end(server)
    assert all(client.read == 40 * AHEAD for client in others)


@pytest.mark.usefixtures("few_bytes")
async def test_the_oldest_gets_through_whatever_others_hold() -> None:
    server = Server()
    first, *others = (Client(server) for _ in range(8))
    first.send(FREE + 1)
    await settle()
    for client in others:
        for _ in range(30):
            client.send(AHEAD)
    for _ in range(80):
        await settle()
    assert server.memory.held > BOUND - AHEAD
    for _ in range(80):
        first.send(AHEAD)
        await settle()
    assert first.read == FREE + 1 + 80 * AHEAD
    assert server.memory.held <= 2 * BOUND
    first.send(AHEAD)  # beyond the bound by itself, but nothing that is there as a whole
    first.send(300)
    first.send(0, more=False)
    await settle()
    assert first.is_made
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_a_body_that_stays_as_it_is_counts_and_is_not_the_oldest_that_comes() -> None:
    server = Server()
    whole = Client(server, values=None)
    whole.send(FREE + 200, more=False)
    await settle()
    first, second = Client(server), Client(server)
    first.send(FREE + 1)
    await settle()
    second.send(BOUND)
    for _ in range(90):
        first.send(AHEAD)
        await settle()
    assert server.memory.held > BOUND
    assert FREE + 1 + 60 * AHEAD < first.read < FREE + 1 + 90 * AHEAD
    whole.may_end.set()
    for _ in range(20):
        await settle()
    assert first.read == FREE + 1 + 90 * AHEAD
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_small_bodies_never_wait() -> None:
    server = Server()
    large = Client(server, values=5 * BOUND)
    large.send(5 * BOUND, more=False)
    await settle()
    waiting = Client(server)
    for _ in range(FREE):
        waiting.send(2)
    small = Client(server, values=FREE)
    for _ in range(FREE):
        small.send(1, more=True)
    small.send(0, more=False)
    for _ in range(FREE):
        await settle()
    assert small.is_made
    assert not waiting.is_made
    assert waiting.read == FREE + 2
    await end(server)


@pytest.mark.usefixtures("few_bytes")
@pytest.mark.parametrize("how", ["answer", "failure", "disconnect", "cancellation"])
async def test_however_a_request_ends_its_room_is_free(how: str) -> None:
    server = Server()
    holder = Client(server, values=BOUND, fails=how == "failure")
    holder.send(BOUND, more=how in ("disconnect", "cancellation"))
    await settle()
    waiting = Client(server)
    for _ in range(20):
        waiting.send(AHEAD)
    waiting.send(0, more=False)
    for _ in range(20):
        await settle()
    assert waiting.read < 20 * AHEAD
    if how == "disconnect":
        holder.leave()
    elif how == "cancellation":
        holder.task.cancel()
    holder.may_end.set()
    waiting.may_end.set()
    async with in_time():
        await asyncio.wait([holder.task, waiting.task])
    assert waiting.read == 20 * AHEAD
    assert server.memory.held == 0


@pytest.mark.usefixtures("few_bytes")
async def test_who_waits_for_too_long_is_refused_and_holds_nothing() -> None:
    server = Server(patience=0.01)
    holder, reader, maker = Client(server), Client(server), Client(server, values=BOUND)
    holder.values = BOUND + FREE
    holder.send(1, more=False)
    await settle()
    reader.send(FREE + 1)
    reader.send(FREE)
    maker.send(1, more=False)
    for client in (reader, maker):
        async with in_time():
            with pytest.raises(ApiError) as refused:
                await client.task
        assert refused.value.code == "queue_full"
        assert (refused.value.headers or {})["retry-after"] == "5"
        assert not client.is_made
    assert server.memory.held == BOUND
    assert reader.read == FREE + 1
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_a_task_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    server = Server()
    holder, reader, maker = Client(server), Client(server), Client(server, values=BOUND)
    holder.values = BOUND
    holder.send(1, more=False)
    reader.send(FREE + 200)
    maker.send(1, more=False)
    await settle()
    for client in (reader, maker):
        client.task.cancel()
    await settle()
    assert server.memory.held == BOUND - FREE
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_a_client_that_leaves_while_its_values_wait_holds_nothing() -> None:
    server = Server()
    holder, leaving, other = (Client(server, values=BOUND) for _ in range(3))
    for client in (holder, leaving, other):
        client.send(FREE + 50, more=False)
    await settle()
    leaving.leave()
    async with in_time():
        with pytest.raises(ClientGoneError):
            await leaving.task
    assert server.memory.held == BOUND - FREE + 50
    holder.may_end.set()
    await settle()
    assert other.is_made
    assert not leaving.is_made
    assert server.memory.held == BOUND - FREE
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_a_body_beyond_the_bound_gets_through_alone() -> None:
    server = Server()
    huge, other, small = Client(server), Client(server), Client(server)
    huge.values = 7 * BOUND
    huge.send(5 * BOUND)
    huge.send(5 * BOUND, more=False)
    await settle()
    assert huge.is_made
    assert server.memory.held == 7 * BOUND - FREE
    other.send(FREE + 1)
    other.send(1, more=False)
    small.send(FREE, more=False)
    await settle()
    assert small.is_made
    assert not other.is_made
    huge.may_end.set()
    await settle()
    assert other.is_made
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_those_that_wait_do_not_all_go_on_at_once() -> None:
    server = Server(bound=100)
    holder = Client(server, values=100 + FREE)
    holder.send(1, more=False)
    await settle()
    readers = [Client(server) for _ in range(30)]
    for client in readers:
        client.send(FREE + 1)
        client.send(AHEAD)
    await settle()
    assert server.memory.held == 100 + 30
    holder.may_end.set()
    await settle()
    # Seven have room.
    assert sum(client.read > FREE + 1 for client in readers) == 7
    assert server.memory.held <= 100 + 2 * AHEAD
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_a_request_that_is_there_as_a_whole_still_knows_when_its_client_leaves() -> None:
    server = Server()
    holder, other = Client(server, values=BOUND), Client(server)
    holder.send(BOUND, more=False)
    other.send(3 * BOUND)
    await settle()
    held = server.memory.held
    holder.leave()
    await settle()
    assert server.memory.held == held
    holder.may_end.set()
    await settle()
    assert holder.is_gone
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_values_are_made_one_after_another_beyond_the_bound() -> None:
    server = Server()
    clients = [Client(server, values=BOUND) for _ in range(5)]
    for client in clients:
        client.send(100, more=False)
    for made in range(5):
        await settle()
        assert [client.is_made for client in clients] == [each <= made for each in range(5)]
        clients[made].may_end.set()
    await end(server)


@pytest.mark.usefixtures("few_bytes")
async def test_bodies_that_are_kept_elsewhere_do_not_count() -> None:
    server = Server()
    elsewhere = Client(server, path="/elsewhere", values=BOUND)
    elsewhere.send(50 * BOUND, more=False)
    await settle()
    assert elsewhere.is_made
    assert server.memory.held == 0
    await end(server)
