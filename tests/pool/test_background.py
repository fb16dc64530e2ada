"""What no client waits for: it gives way to requests, and ends with its worker."""

import asyncio

from server.pool.client import EngineClient
from server.protocol.messages import Abort
from tests.pool.test_client import TASK, Recorder, client_with, output


def test_work_in_the_background_takes_no_request_s_place():
    async def scenario():
        link = Recorder()
        client = EngineClient(3, slots=4)
        assert client.submit_background(TASK) is None  # nobody is there
        client.add(link)
        client.open()
        aside = client.submit_background(TASK)
        (ident,) = link.ids()
        assert client.active_requests == 0
        streams = [client.submit(TASK) for _ in range(3)]
        assert client.submit_background(TASK) is None  # busy
        client.deliver(link, [output(link.ids()[1], "", "stop")])
        assert Abort(ident) not in link.sent
        client.deliver(link, [output(ident, "", "length")])
        assert (await aside.get()).finish_reason == "length"
        for stream in streams[1:]:
            stream.abort()
        again = [client.submit_background(TASK) for _ in range(2)]
        idents = link.ids()[-2:]
        for _ in range(3):
            client.submit(TASK)
        assert link.sent[-3:-1] == [Abort(each) for each in idents]
        assert [(await each.get()).finish_reason for each in again] == ["abort", "abort"]

    asyncio.run(scenario())


def test_work_in_the_background_can_be_aborted_and_refused_and_ends_with_its_worker():
    async def scenario():
        link = Recorder()
        client = client_with(link)
        aborted = client.submit_background(TASK)
        aborted.abort()
        assert link.sent[-1] == Abort(link.ids()[-1])
        lost = client.submit_background(TASK)
        assert client.lose(link) == (0, 0)
        assert (await lost.get()).finish_reason == "abort"
        client.add(Recorder("b"))
        refused = client.submit_background(TASK)
        client.refuse_background()
        assert (await refused.get()).finish_reason == "abort"
        assert client.submit_background(TASK) is None
        client.submit(TASK)

    asyncio.run(scenario())
