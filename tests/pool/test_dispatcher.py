"""Requests over workers that die at any moment: nothing is lost, doubled or blamed wrongly."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.pool.dispatcher import MOST_DEATHS
from tests.pool.dying_workers import World


def test_a_lost_worker_costs_nothing():
    world = World(2)
    clients = [world.submit(10) for _ in range(8)]
    for _ in range(4):
        for worker in world.workers:
            world.step(worker)
            world.receive(worker)
    assert world.end(world.workers[0]) == (4, 0)
    world.run(1)
    assert [client.got for client in clients] == [client.expected for client in clients]
    assert world.started == 2


def test_what_was_sent_by_a_dead_worker_is_void():
    world = World(1)
    client = world.submit(5)
    (worker,) = world.workers
    for _ in range(3):
        world.step(worker)
    world.receive(worker)
    world.end(worker)
    world.receive(worker, 9)
    assert client.got == client.expected[:1]
    world.run(1)
    assert client.got == client.expected


def test_what_mirostat_has_come_to_goes_to_the_next_worker_with_the_tokens():
    world = World(1)
    client = world.submit(5)
    (worker,) = world.workers
    for mu in (9.5, 8.25):
        world.step(worker)
        (output,) = worker.outbox.pop()
        output = msgspec.structs.replace(output, mu=mu)
        world.dispatcher.deliver(worker.link, [output])
    world.end(worker)
    world.start_worker()
    task = world.workers[0].inbox[-1].task
    assert (task.generated_ids, task.mu) == (client.expected[:2], 8.25)


def test_a_request_that_kills_alone_fails_at_the_second_death():
    world = World(1)
    poison = world.submit(5, poison_at=2)
    world.run(1)
    assert (poison.finish, poison.code) == ("error", "poison_request")
    assert poison.got == poison.expected[:2]
    assert world.deaths == MOST_DEATHS


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("poison_at", [0, 3])
def test_only_the_poison_among_many_fails(workers, poison_at):
    world = World(workers)
    clients = [world.submit(8, poison_at if number == 4 else None) for number in range(9)]
    world.run(workers)
    for number, client in enumerate(clients):
        if number == 4:
            assert (client.finish, client.code) == ("error", "poison_request")
            assert client.got == client.expected[:poison_at]
        else:
            assert (client.got, client.finish) == (client.expected, "length")
    assert world.deaths <= MOST_DEATHS + 1


def test_suspects_are_probed_one_after_another_and_new_ones_wait_for_them():
    world = World(1)
    clients = [world.submit(8) for _ in range(3)]
    for _ in range(MOST_DEATHS):
        world.end(world.workers[0])
        world.start_worker()
    (worker,) = world.workers
    late = world.submit(8)
    for number, client in enumerate(clients):
        assert list(worker.link.records.values()) == [client.record]
        world.step(worker)
        world.receive(worker)
        assert len(client.got) == 1
        assert worker.link.probed is (clients[number + 1].record if number < 2 else None)
    assert len(worker.link.records) == 4
    world.run(1)
    assert all(client.got == client.expected for client in (*clients, late))
    assert world.deaths == MOST_DEATHS


def test_a_suspect_that_leaves_makes_way():
    world = World(1)
    clients = [world.submit(8) for _ in range(3)]
    for _ in range(MOST_DEATHS):
        world.end(world.workers[0])
        world.start_worker()
    (worker,) = world.workers
    world.dispatcher.drop(clients[1].record)  # waits
    world.dispatcher.drop(clients[0].record)  # runs alone
    assert list(worker.link.records.values()) == [clients[2].record]
    world.clients[:2] = [clients[2]] * 2
    world.run(1)
    assert clients[2].got == clients[2].expected


def test_old_outputs_of_a_worker_that_got_a_request_again_are_void():
    world = World(1)
    first, second = world.submit(6), world.submit(6)
    for _ in range(MOST_DEATHS):
        world.end(world.workers[0])
        world.start_worker()
    (worker,) = world.workers
    for _ in range(3):
        world.step(worker)
    world.receive(worker)  # the first one makes way for the second
    world.dispatcher.drop(second.record)
    assert worker.link.records == {first.record.request_id: first.record}
    world.receive(worker, 2)
    assert first.got == first.expected[:1]
    second.finish = "left"
    world.run(1)
    assert first.got == first.expected


def test_while_suspects_wait_a_busy_worker_is_left_to_become_idle():
    world = World(1)
    suspects = [world.submit(5), world.submit(5)]
    world.end(world.workers[0])
    for _ in range(3):
        world.start_worker()
    for _ in range(6):
        world.submit(30)
    world.end(world.workers[0])  # and it does not come back
    assert all(link.records for link in world.dispatcher.links)
    for _ in range(150):
        world.submit(6)
        for worker in world.workers:
            world.step(worker)
            world.receive(worker, 2)
        world.check()
    assert all(client.got == client.expected for client in suspects)


def test_progress_clears_a_request_of_deaths():
    world = World(1)
    client = world.submit(20)
    for _ in range(10):
        world.step(world.workers[0])
        world.receive(world.workers[0])
        world.end(world.workers[0])
        world.start_worker()
    world.run(1)
    assert client.got == client.expected


@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 3),
    poisons=st.lists(st.integers(0, 6), max_size=3),
    requests=st.integers(1, 12),
)
@settings(max_examples=300, deadline=None)
def test_any_order_of_events(seed, workers, poisons, requests):
    """Kills from outside, late messages, clients that come and leave; then all runs to its end."""
    chance = random.Random(seed)
    world = World(workers)
    plan = [*poisons, *[None] * requests]
    chance.shuffle(plan)
    left = set()
    for _ in range(chance.randrange(150)):
        event = chance.random()
        if event < 0.1 and plan:
            world.submit(chance.randrange(1, 9), plan.pop())
        elif event < 0.13 and world.workers:
            world.end(chance.choice(world.workers))
        elif event < 0.2 and len(world.workers) < workers:
            world.start_worker()
        elif event < 0.22 and world.clients:
            client = chance.choice(world.clients)
            if client.finish is None:
                world.dispatcher.drop(client.record)
                client.finish = "left"
                left.add(client.seed)
        elif event < 0.3 and world.dead:
            world.receive(chance.choice(world.dead))
        elif world.workers:
            worker = chance.choice(world.workers)
            world.receive(worker) if chance.random() < 0.6 else world.step(worker)
        world.check()
    for poison_at in plan:
        world.submit(5, poison_at)
    world.run(workers)
    for client in world.clients:
        if client.seed in left:
            continue
        is_poison = client.poison_at is not None and client.poison_at < client.tokens
        if client.code == "poison_request":
            # Who was never alone when somebody killed its worker is blamed only if it is guilty.
            assert is_poison or client.seed in world.killed_alone
        else:
            assert not is_poison
            assert (client.got, client.finish) == (client.expected, "length")
