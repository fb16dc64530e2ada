"""Worker processes that end before they are told what to do."""

import asyncio
import sys

import pytest
import uvloop

from server.pool.process import WorkerError, WorkerProcess
from server.pool.records import WorkerLink
from server.protocol.messages import Assignment, ModelSpec


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_one_that_ends_at_once_is_told_of_by_how_it_ended(loop_factory, monkeypatch):
    start = asyncio.create_subprocess_exec

    async def start_and_wait(*args, **options):
        process = await start(*args, **options)
        await process.wait()
        return process

    async def scenario():
        link = WorkerLink("a", lambda _: None)
        assignment = Assignment("a", "", 1, [], 0, ModelSpec("tiny", ""), "{}")
        worker = await WorkerProcess.start(0, assignment, link, "")
        with pytest.raises(WorkerError, match="worker 0 of tiny ended with exit code 1"):
            await worker.wait_until_ready()

    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_wait)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
