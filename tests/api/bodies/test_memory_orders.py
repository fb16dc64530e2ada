"""In whatever order bodies come and requests end: the bound holds, and all of them end."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.bodies.memory_server import (
    AHEAD,
    BOUND,
    FREE,
    Client,
    Server,
    end,
    set_few_bytes,
    settle,
)

SIZES = st.sampled_from([0, 1, AHEAD, FREE, 100, BOUND // 2, 3 * BOUND])
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "send", "send", "send", "last", "end", "leave", "cancel"]),
        st.integers(0, 7),
        SIZES,
    ),
    max_size=60,
)


async def act(server: Server, kind: str, index: int, size: int) -> None:
    if kind == "begin" or not server.clients:
        Client(server, values=size or None, fails=index == 0)
        return
    client = server.clients[index % len(server.clients)]
    if kind in ("send", "last"):
        client.send(size, more=kind == "send")
    elif kind == "end":
        client.may_end.set()
    elif kind == "leave":
        client.leave()
    else:
        client.task.cancel()


async def interleave(actions: list[tuple[str, int, int]]) -> None:
    server = Server()
    for kind, index, size in actions:
        await act(server, kind, index, size)
        for _ in range(size % 3):  # sometimes none of the tasks has seen it yet
            await settle()
        # What comes at once beyond AHEAD is not known before.
        surplus = len(server.clients) * 3 * BOUND
        assert server.memory.held <= 2 * BOUND + 3 * BOUND + surplus
        assert server.memory.held >= 0
    await end(server)


@settings(max_examples=200, deadline=None)
@given(ACTIONS)
def test_in_no_order_of_events_do_requests_wait_for_one_another(
    actions: list[tuple[str, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_few_bytes(patch)
        asyncio.run(interleave(actions))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2 * BOUND)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_no_more_than_twice_the_bound_is_held(bodies: list[tuple[int, int]], rng: Any) -> None:
    async def flood() -> None:
        server = Server()
        clients = [Client(server, values=values) for _, values in bodies]
        parts = [
            client for client, body in zip(clients, bodies, strict=True) for _ in range(body[0])
        ]
        rng.shuffle(parts)
        for client in parts:
            client.send(AHEAD)
            if rng.random() < 0.2:
                await settle()
            made = max((each.values or 0 for each in clients if each.is_made), default=0)
            assert server.memory.held <= 2 * BOUND + made
        for client in clients:
            client.send(AHEAD, more=False)
        for _ in range(10_000):
            if all(client.task.done() for client in clients):
                break
            made = max((each.values or 0 for each in clients if each.is_made), default=0)
            assert server.memory.held <= 2 * BOUND + made
            await settle()
            for client in clients:
                if client.is_made and rng.random() < 0.5:
                    client.may_end.set()
        assert server.memory.held == 0

    with pytest.MonkeyPatch.context() as patch:
        set_few_bytes(patch)
        asyncio.run(flood())
