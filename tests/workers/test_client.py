import asyncio

import pytest

from server.sampling.params import SamplingParams
from server.workers.client import (
    MOST_AHEAD,
    EngineClient,
    NotReadyError,
    QueueFullError,
    WorkerLink,
)
from server.workers.messages import Abort, Generate, RequestOutput, Task

PARAMS = SamplingParams(max_tokens=5, seed=1)


class Recorder(WorkerLink):
    """A ready link that keeps what is sent."""

    def __init__(self):
        self.sent = []
        super().__init__(send=self.sent.append, ready=True)


def client_with(*links, max_requests=10):
    client = EngineClient(max_requests)
    client.links.extend(links)
    return client


def output(stream, text, finish_reason=None):
    return RequestOutput(stream.request_id, text, [1], finish_reason)


def test_outputs_reach_their_stream_and_are_merged_for_a_slow_reader():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        first, second = client.submit(Task([1], PARAMS)), client.submit(Task([2], PARAMS))
        client.deliver(link, [output(first, "a"), output(second, "x")])
        client.deliver(link, [output(first, "b"), output(first, "c", "stop")])
        client.deliver(link, [output(second, "y", "length")])
        assert [(o.text, o.token_ids, o.finish_reason) async for o in first] == [
            ("abc", [1, 1, 1], "stop")
        ]
        assert [(o.text, o.finish_reason) async for o in second] == [("xy", "length")]
        assert client.active_requests == 0

    asyncio.run(scenario())


def test_waiting_can_be_cancelled_without_losing_anything():
    async def scenario():
        link = Recorder()
        stream = client_with(link).submit(Task([1], PARAMS))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.get(), 0.001)
        stream.put(output(stream, "a"))
        assert (await stream.get()).text == "a"

    asyncio.run(scenario())


def test_requests_go_to_the_least_loaded_ready_worker():
    async def scenario():
        links = [Recorder(), Recorder(), Recorder()]
        links[1].ready = False
        client = client_with(*links)
        for _ in range(4):
            client.submit(Task([1], PARAMS))
        assert [len(link.sent) for link in links] == [2, 0, 2]
        assert all(isinstance(message, Generate) for message in links[0].sent)

    asyncio.run(scenario())


def test_the_number_of_requests_is_bounded_and_ends_make_room():
    async def scenario():
        link = Recorder()
        client = client_with(link, max_requests=2)
        stream = client.submit(Task([1], PARAMS))
        client.submit(Task([1], PARAMS))
        with pytest.raises(QueueFullError) as caught:
            client.submit(Task([1], PARAMS))
        assert caught.value.retry_after > 0
        client.deliver(link, [output(stream, "", "stop")])
        client.submit(Task([1], PARAMS))

    asyncio.run(scenario())


def test_requests_elsewhere_can_count_as_well():
    async def scenario():
        elsewhere = 1
        client = EngineClient(2, lambda: elsewhere + client.active_requests)
        client.links.append(Recorder())
        client.submit(Task([1], PARAMS))
        with pytest.raises(QueueFullError):
            client.submit(Task([1], PARAMS))
        elsewhere = 0
        client.submit(Task([1], PARAMS))

    asyncio.run(scenario())


def test_the_initial_state_goes_along():
    async def scenario():
        link = Recorder()
        stream = client_with(link).submit(Task([1], PARAMS, "poet"))
        assert link.sent == [Generate(stream.request_id, Task([1], PARAMS, "poet"))]

    asyncio.run(scenario())


def test_abort_is_sent_once_and_later_outputs_are_dropped():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(Task([1], PARAMS))
        stream.abort()
        stream.abort()
        assert link.sent[1:] == [Abort(stream.request_id)]
        client.deliver(link, [output(stream, "late")])
        assert client.active_requests == 0

    asyncio.run(scenario())


def test_nothing_is_aborted_after_the_end():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(Task([1], PARAMS))
        client.deliver(link, [output(stream, "a", "stop")])
        stream.abort()
        assert len(link.sent) == 1

    asyncio.run(scenario())


def test_a_worker_that_is_gone_fails_its_requests_only():
    async def scenario():
        links = [Recorder(), Recorder()]
        client = client_with(*links)
        lost, kept = client.submit(Task([1], PARAMS)), client.submit(Task([1], PARAMS))
        client.fail(links[0], "worker-0 was ended by signal 9")
        (news,) = [o async for o in lost]
        assert (news.finish_reason, news.error) == ("error", "worker-0 was ended by signal 9")
        assert client.active_requests == 1
        assert client.submit(Task([1], PARAMS)).request_id in links[1].streams
        assert kept.request_id in links[1].streams

    asyncio.run(scenario())


def test_no_ready_worker():
    async def scenario():
        client = client_with()
        client.detail = "compiling kernels"
        with pytest.raises(NotReadyError, match="compiling kernels"):
            client.submit(Task([1], PARAMS))

    asyncio.run(scenario())


def test_the_same_key_goes_to_the_same_worker_unless_that_is_much_busier():
    async def scenario():
        links = [Recorder() for _ in range(4)]
        client = client_with(*links, max_requests=100)

        def worker(key):
            stream = client.submit(Task([1], PARAMS), key)
            stream.abort()
            return stream.worker

        keys = [f"key {number}" for number in range(40)]
        chosen = {key: worker(key) for key in keys}
        assert {worker(key) for key in keys} == {0, 1, 2, 3}
        assert {key: worker(key) for key in keys} == chosen
        links[2].ready = False
        moved = {key: worker(key) for key in keys}
        assert all(moved[key] == chosen[key] or chosen[key] == 2 for key in keys)
        assert 2 not in moved.values()
        own = worker("key 0")
        held = [client.submit(Task([1], PARAMS), "key 0").worker for _ in range(MOST_AHEAD + 2)]
        assert held[: MOST_AHEAD + 1] == [own] * (MOST_AHEAD + 1)
        assert held[-1] != own

    asyncio.run(scenario())


def test_work_in_the_background_takes_no_request_s_place():
    async def scenario():
        link = Recorder()
        client = EngineClient(3, slots=4)
        client.links.append(link)
        aside = client.submit_background(Task([1], PARAMS), 0)
        assert client.active_requests == 0
        streams = [client.submit(Task([1], PARAMS)) for _ in range(3)]
        assert client.submit_background(Task([1], PARAMS), 0) is None  # busy
        client.deliver(link, [output(streams[0], "", "stop")])
        assert Abort(aside.request_id) not in link.sent
        client.deliver(link, [output(aside, "", "length")])
        assert (await aside.get()).finish_reason == "length"
        for stream in streams[1:]:
            stream.abort()
        again = [client.submit_background(Task([1], PARAMS), 0) for _ in range(2)]
        for _ in range(3):
            client.submit(Task([1], PARAMS))
        assert link.sent[-3:-1] == [Abort(each.request_id) for each in again]
        assert [(await each.get()).finish_reason for each in again] == ["abort", "abort"]
        client.fail(link, "gone")
        assert client.submit_background(Task([1], PARAMS), 0) is None

    asyncio.run(scenario())


def test_a_client_that_refuses_background_work_ends_it():
    async def scenario():
        client = client_with(Recorder())
        aside = client.submit_background(Task([1], PARAMS), 0)
        client.refuse_background()
        assert (await aside.get()).finish_reason == "abort"
        assert client.submit_background(Task([1], PARAMS), 0) is None
        client.submit(Task([1], PARAMS))

    asyncio.run(scenario())
