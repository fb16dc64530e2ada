"""The client of a model's workers: streams, limits, and when requests are taken."""

import asyncio
import itertools

import pytest

from server.pool.client import (
    STREAM_TOKENS,
    TURN_SIZE,
    EngineClient,
    NotReadyError,
    OutputStream,
    QueueFullError,
)
from server.pool.records import WorkerLink
from server.protocol.messages import Abort, Generate, Sleep, Wake
from server.protocol.outputs import RequestOutput, merged, size_of
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.sampling.token_logprobs import TokenLogprobs

PARAMS = SamplingParams(max_tokens=5, seed=1)
TASK = Task([1], PARAMS)


class Recorder(WorkerLink):
    """A link that keeps what is sent."""

    def __init__(self, name="a"):
        self.sent = []
        super().__init__(name, self.sent.append)

    def ids(self):
        return [message.request_id for message in self.sent if isinstance(message, Generate)]


def client_with(*links, max_requests=10):
    client = EngineClient(max_requests)
    for link in links:
        client.add(link)
    client.open()
    return client


def output(request_id, text, finish_reason=None):
    return RequestOutput(request_id, text, [1], finish_reason)


def test_outputs_reach_their_stream_and_are_merged_for_a_slow_reader():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        first, second = client.submit(TASK), client.submit(TASK)
        a, x = link.ids()
        client.deliver(link, [output(a, "a"), output(x, "x")])
        client.deliver(link, [output(a, "b"), output(a, "c", "stop")])
        client.deliver(link, [output(x, "y", "length")])
        assert [(o.text, o.token_ids, o.finish_reason) async for o in first] == [
            ("abc", [1, 1, 1], "stop")
        ]
        assert [(o.text, o.finish_reason) async for o in second] == [("xy", "length")]
        assert client.active_requests == 0

    asyncio.run(scenario())


def test_waiting_can_be_cancelled_without_losing_anything():
    async def scenario():
        link = Recorder()
        stream = client_with(link).submit(TASK)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.get(), 0.001)
        stream.put(output("r1", "a"))
        assert (await stream.get()).text == "a"

    asyncio.run(scenario())


def test_requests_go_to_the_least_loaded_worker():
    async def scenario():
        links = [Recorder("a"), Recorder("b"), Recorder("c")]
        client = client_with(*links)
        client.lose(links[1])
        for _ in range(4):
            client.submit(TASK)
        assert [len(link.ids()) for link in links] == [2, 0, 2]
        assert client.workers == 2

    asyncio.run(scenario())


def test_the_number_of_requests_is_bounded_and_ends_make_room():
    async def scenario():
        link = Recorder()
        client = client_with(link, max_requests=2)
        client.submit(TASK)
        client.submit(TASK)
        with pytest.raises(QueueFullError) as caught:
            client.submit(TASK)
        assert caught.value.retry_after > 0
        client.deliver(link, [output(link.ids()[0], "", "stop")])
        client.submit(TASK)
        client.lose(link)  # those that wait count as well
        with pytest.raises(QueueFullError):
            client.submit(TASK)

    asyncio.run(scenario())


def test_requests_elsewhere_can_count_as_well():
    async def scenario():
        elsewhere = 1
        client = EngineClient(2, lambda: elsewhere + client.active_requests)
        client.open()
        client.submit(TASK)
        with pytest.raises(QueueFullError):
            client.submit(TASK)
        elsewhere = 0
        client.submit(TASK)

    asyncio.run(scenario())


def test_the_whole_task_goes_along():
    async def scenario():
        link = Recorder()
        task = Task([1], PARAMS, "poet")
        client_with(link).submit(task)
        assert link.sent == [Generate(link.ids()[0], task)]

    asyncio.run(scenario())


def test_abort_is_sent_once_and_later_outputs_are_dropped():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(TASK)
        stream.abort()
        stream.abort()
        assert link.sent[1:] == [Abort(link.ids()[0])]
        client.deliver(link, [output(link.ids()[0], "late")])
        assert client.active_requests == 0

    asyncio.run(scenario())


def test_nothing_is_aborted_after_the_end():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(TASK)
        client.deliver(link, [output(link.ids()[0], "a", "stop")])
        stream.abort()
        assert len(link.sent) == 1

    asyncio.run(scenario())


def test_a_stream_that_nobody_reads_puts_its_request_to_sleep_until_it_is_read():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream, _ = client.submit(TASK), client.submit(TASK)
        a, x = link.ids()
        link.sent.clear()
        for _ in range(STREAM_TOKENS - 1):
            client.deliver(link, [output(a, "a")])
        assert link.sent == []
        client.deliver(link, [output(a, "b"), output(x, "x")])
        client.deliver(link, [output(a, "c")])  # was on its way
        assert link.sent == [Sleep(a)]
        assert (await stream.get()).text == "a" * (STREAM_TOKENS - 1) + "bc"
        assert link.sent == [Sleep(a), Wake(a)]
        client.deliver(link, [output(a, "d")])
        assert (await stream.get()).text == "d"
        assert len(link.sent) == 2

    asyncio.run(scenario())


def test_a_worker_that_takes_a_sleeping_request_over_is_told():
    async def scenario():
        first, second = Recorder("a"), Recorder("b")
        client = client_with(first)
        stream = client.submit(TASK)
        (ident,) = first.ids()
        client.deliver(first, [output(ident, "a")] * STREAM_TOKENS)
        client.lose(first)
        client.add(second)
        (again,) = second.ids()
        assert second.sent[1:] == [Sleep(again)]
        await stream.get()
        assert second.sent[2:] == [Wake(again)]

    asyncio.run(scenario())


def test_what_a_stream_gives_at_once_is_bounded_and_nothing_is_lost():
    many = [TokenLogprobs(-float(number), [1, 2, 3], [-1.0] * 3) for number in range(5000)]
    one = RequestOutput(
        *("r", "hi", [7], "stop"),
        cached_tokens=3,
        written_tokens=4,
        queued_seconds=0.5,
        logprobs=many[:1],
        prompt_logprobs=[None, *many],
        mu=0.25,
        stop_string="x",
        state=b"s",
    )
    flood = [RequestOutput("r", "a", [n], logprobs=many[n : n + 1]) for n in range(3000)]
    for outputs in ([one], flood, [*flood, one], [RequestOutput("r", "", [], "stop")]):
        stream = OutputStream(lambda: None)
        for each in outputs:
            stream.put(each)
        taken = []
        while stream.has_news:
            taken.append(stream.take())
            assert size_of(taken[-1]) <= 2 * TURN_SIZE
        sizes = [size_of(each) for each in taken]
        assert all(a + b > TURN_SIZE for a, b in itertools.pairwise(sizes))
        assert merged(taken) == merged(outputs)
        assert [each.finish_reason for each in taken[:-1]] == [None] * (len(taken) - 1)


def test_a_request_wakes_when_few_enough_of_its_tokens_are_left():
    slept = []
    stream = OutputStream(lambda: None, slept.append)
    wide = [TokenLogprobs(-1.0, [1] * 20, [-1.0] * 20)]
    for _ in range(2 * STREAM_TOKENS):
        stream.put(RequestOutput("r", "a", [1], logprobs=wide))
    assert slept == [True, True]
    while stream.has_news:
        left = stream._pending_tokens - len(stream.take().token_ids)
        assert left == stream._pending_tokens
        assert (slept[-1] is False) == (left < STREAM_TOKENS)
    assert slept == [True, True, False]


def test_nobody_is_woken_after_the_end():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(TASK)
        (ident,) = link.ids()
        client.deliver(link, [output(ident, "a")] * STREAM_TOKENS)
        client.deliver(link, [output(ident, "", "length")])
        await stream.get()
        assert link.sent[1:] == [Sleep(ident)]

    asyncio.run(scenario())


def test_a_stream_goes_on_when_its_worker_is_gone():
    async def scenario():
        first, second = Recorder("a"), Recorder("b")
        client = client_with(first)
        stream = client.submit(TASK)
        client.deliver(first, [output("r1", "a")])
        client.lose(first)
        waits = client.submit(TASK)  # is taken while all workers are gone
        assert client.active_requests == 2
        waits.abort()
        client.add(second)
        (request_id,) = second.ids()
        client.deliver(first, [output("r1", "of a dead worker")])
        client.deliver(second, [output(request_id, "b", "stop")])
        assert [(o.text, o.token_ids) async for o in stream] == [("ab", [1, 1])]

    asyncio.run(scenario())


def test_nothing_is_taken_before_it_opens_or_after_it_closes():
    async def scenario():
        client = EngineClient(9)
        client.detail = "compiling kernels"
        with pytest.raises(NotReadyError, match="compiling kernels"):
            client.submit(TASK)
        client.open()
        waits = client.submit(TASK)
        client.close("in a crash loop")
        assert (await waits.get()).error == "in a crash loop"
        with pytest.raises(NotReadyError, match="in a crash loop"):
            client.submit(TASK)
        client.open()
        client.submit(TASK)

    asyncio.run(scenario())


def test_closing_spares_those_that_run_until_their_worker_is_gone():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        stream = client.submit(TASK)
        client.close("why")
        client.deliver(link, [output("r1", "a")])
        assert (await stream.get()).text == "a"
        client.lose(link)
        assert (await stream.get()).error == "why"
        assert client.active_requests == 0

    asyncio.run(scenario())


def test_fail_all_ends_everything_for_good():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        streams = [client.submit(TASK) for _ in range(3)]
        client.fail_all("the server is shutting down")
        for stream in streams:
            last = await stream.get()
            assert (last.finish_reason, last.error) == ("error", "the server is shutting down")
            assert last.error_code == "engine_error"
        client.open()  # a worker that came back
        with pytest.raises(NotReadyError, match="shutting down"):
            client.submit(TASK)

    asyncio.run(scenario())
