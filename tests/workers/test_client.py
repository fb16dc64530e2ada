import asyncio

import pytest

from server.sampling.params import SamplingParams
from server.workers.client import (
    STREAM_TOKENS,
    EngineClient,
    NotReadyError,
    QueueFullError,
    WorkerLink,
)
from server.workers.messages import Abort, Generate, RequestOutput, Sleep, Task, Wake

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


def test_a_stream_that_nobody_reads_puts_its_request_to_sleep_until_it_is_read():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream, other = client.submit(Task([1], PARAMS)), client.submit(Task([2], PARAMS))
        link.sent.clear()
        for _ in range(STREAM_TOKENS - 1):
            client.deliver(link, [output(stream, "a")])
        assert link.sent == []
        client.deliver(link, [output(stream, "b"), output(other, "x")])
        client.deliver(link, [output(stream, "c")])  # was on its way
        assert link.sent == [Sleep(stream.request_id)]
        assert (await stream.get()).text == "a" * (STREAM_TOKENS - 1) + "bc"
        assert link.sent == [Sleep(stream.request_id), Wake(stream.request_id)]
        client.deliver(link, [output(stream, "d")])
        assert (await stream.get()).text == "d"
        assert len(link.sent) == 2

    asyncio.run(scenario())


def test_a_worker_that_does_not_know_of_the_sleep_is_told_again():
    async def scenario():
        link = Recorder()
        stream = client_with(link).submit(Task([1], PARAMS))
        for _ in range(3 * STREAM_TOKENS):
            stream.put(output(stream, "a"))
        assert link.sent[1:] == [Sleep(stream.request_id)] * 3

    asyncio.run(scenario())


def test_nobody_is_woken_after_the_end():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(Task([1], PARAMS))
        for _ in range(STREAM_TOKENS):
            client.deliver(link, [output(stream, "a")])
        client.deliver(link, [output(stream, "", "length")])
        await stream.get()
        assert link.sent[1:] == [Sleep(stream.request_id)]

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
