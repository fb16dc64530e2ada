"""The pool with real workers of the embedded model: what it does when they do not stay."""

import asyncio
import shutil
import signal
import tempfile

import psutil
import pytest

from server.config import Settings
from server.pool import restarts
from server.pool.client import EngineClient, NotReadyError
from server.pool.pool import WorkerPool
from server.pool.process import WorkerError
from server.protocol.messages import ModelSpec
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from tests.fakes import PATIENCE

pytestmark = pytest.mark.slow

ENDLESS = Task([1, 2, 3], SamplingParams(max_tokens=60_000, seed=1, ignore_eos=True))

STARTS_WITHIN = 10 * PATIENCE
"""Seconds: the first worker of a new checkout compiles, on however busy a machine."""


class Running:
    """A pool of one worker, a context; `children` are the processes that it started."""

    def __init__(self, **engine):
        self.settings = Settings.model_validate({"engine": {"threads": 1, **engine}})

    async def __aenter__(self):
        self._before = set(psutil.Process().children())
        self.client = EngineClient(9)
        model = ModelSpec("tiny", "")
        self.pool = WorkerPool(self.settings, model, 1, self.client, lambda _: None)
        await self.pool.start()
        return self

    async def __aexit__(self, *_):
        await self.pool.stop()
        assert not self.children

    @property
    def children(self):
        return set(psutil.Process().children()) - self._before

    def kill(self):
        (worker,) = self.children
        worker.send_signal(signal.SIGKILL)
        return worker

    async def until(self, condition):
        async with asyncio.timeout(STARTS_WITHIN):
            while not condition():
                await asyncio.sleep(0.01)


async def news(stream):
    async with asyncio.timeout(STARTS_WITHIN):
        return await stream.get()


def test_a_crash_loop_closes_the_model_until_a_worker_lives(monkeypatch):
    monkeypatch.setattr(restarts, "LOOP_DEATHS", 2)
    monkeypatch.setattr(restarts, "HEALTHY_SECONDS", 0.5)
    monkeypatch.setattr(restarts, "PROGRESS_TOKENS", 1e9)  # a quick worker gets that far

    async def scenario():
        async with Running() as running:
            monkeypatch.setattr(restarts, "HEALTHY_SECONDS", 1e9)
            client = running.client
            stream = client.submit(ENDLESS)
            assert (await news(stream)).token_ids
            running.kill()
            await running.until(lambda: client.workers == 0)
            assert client.ready  # it waits for the restart
            await running.until(lambda: client.workers == 1)
            (status,) = running.pool.status()
            assert status[:3] == ("worker-0", True, 1)
            assert status.resident_bytes > 1_000_000
            # Of what it has got, the first may be the dead worker's: the second is the new one's.
            # A request that saw two workers die without a token between would be the poison.
            assert (await news(stream)).token_ids
            assert (await news(stream)).token_ids
            running.kill()
            await running.until(lambda: not client.ready)
            assert running.pool.status()[0].restarts == 2
            while (last := await news(stream)).finish_reason is None:
                pass
            assert (last.error_code, last.error) == ("engine_error", client.detail)
            assert "end again and again" in client.detail
            await running.until(lambda: client.workers == 1)
            with pytest.raises(NotReadyError, match="again and again"):
                client.submit(ENDLESS)
            monkeypatch.setattr(restarts, "HEALTHY_SECONDS", 0.1)
            await running.until(lambda: client.ready)
            assert (await news(client.submit(ENDLESS))).token_ids

    asyncio.run(scenario())


@pytest.mark.parametrize("starting", [False, True])
def test_stopping_during_a_restart_leaves_nothing(starting):
    async def scenario():
        async with Running() as running:
            stream = running.client.submit(ENDLESS)
            await news(stream)
            worker = running.kill()
            await running.until(lambda: running.client.workers == 0)
            if starting:
                await running.until(lambda: running.children - {worker})

    asyncio.run(scenario())


def test_a_worker_that_hangs_while_it_starts_is_started_again():
    async def scenario():
        async with Running(hang_seconds=1) as running:
            stream = running.client.submit(ENDLESS)
            await news(stream)
            first = running.kill()
            await running.until(lambda: running.children - {first})
            (second,) = running.children - {first}
            second.suspend()
            await running.until(lambda: running.children - {first, second})
            await running.until(lambda: running.client.workers == 1)
            # What was there before them goes on.
            assert (await news(stream)).token_ids
            assert (await news(stream)).token_ids

    asyncio.run(scenario())


def test_a_worker_that_hangs_at_the_first_start_fails_it():
    async def scenario():
        running = Running(hang_seconds=1)
        starting = asyncio.create_task(running.__aenter__())
        await asyncio.sleep(0)  # it knows its children from here on
        await running.until(lambda: running.children)
        (worker,) = running.children
        worker.suspend()
        async with asyncio.timeout(STARTS_WITHIN):
            with pytest.raises(WorkerError, match="was killed: it has said nothing for 5 s"):
                await starting
        await running.__aexit__()

    asyncio.run(scenario())


def test_compiling_is_no_hang(tmp_path):
    async def scenario():
        # Where nothing is compiled yet, one function takes longer than a worker may be silent.
        async with Running(hang_seconds=1.5, cache_dir=str(tmp_path)) as running:
            assert (await news(running.client.submit(ENDLESS))).token_ids

    asyncio.run(scenario())


def test_a_request_that_a_worker_has_no_memory_to_receive_is_not_lost():
    async def scenario():
        # Seldom there is no memory to notice that the connection broke, either: then it hangs.
        async with Running(hang_seconds=15) as running:
            stream = running.client.submit(ENDLESS)
            await news(stream)
            (first,) = running.children
            limit = first.memory_info().vms + (4 << 20)
            first.rlimit(psutil.RLIMIT_AS, (limit, limit))
            # Larger than what glibc keeps in reserve; and no state, as the second worker says.
            large = running.client.submit(Task([1], ENDLESS.params, base=bytes(100 << 20)))
            assert (await news(large)).error.startswith("state: ")
            assert first not in running.children
            assert (await news(stream)).token_ids

    asyncio.run(scenario())


def test_workers_come_back_when_the_temporary_folder_was_emptied(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario():
        async with Running() as running:
            stream = running.client.submit(ENDLESS)
            assert (await news(stream)).token_ids
            for folder in tmp_path.glob("rwkv-server-*"):
                shutil.rmtree(folder)
            assert (await news(stream)).token_ids  # who is connected stays so
            running.kill()
            await running.until(lambda: running.client.workers == 0)
            await running.until(lambda: running.client.workers == 1)
            assert (await news(stream)).token_ids
            assert (await news(stream)).token_ids

    asyncio.run(scenario())
    assert list(tmp_path.glob("*/workers")) == []


def test_a_temporary_folder_where_no_socket_fits_is_named(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    async def scenario():
        running = Running()
        with pytest.raises(WorkerError, match=r"^TMPDIR: no socket in .*too long") as caught:
            await running.__aenter__()
        assert caught.value.exit_code == 2
        await running.pool.stop()

    asyncio.run(scenario())


def make_a_mistake(*_):
    raise KeyError("a mistake")


def test_a_mistake_in_a_task_of_the_pool_ends_its_requests(monkeypatch, caplog):
    async def scenario():
        async with Running() as running:
            monkeypatch.setattr(running.client, "deliver", make_a_mistake)
            last = await news(running.client.submit(ENDLESS))
            assert (last.finish_reason, last.error_code) == ("error", "engine_error")
            assert not running.client.ready

    asyncio.run(scenario())
    (record,) = (each for each in caplog.records if each.levelname == "ERROR")
    assert record.message == "tiny takes no requests: unexpected error"
    assert isinstance(record.exc_info[1], KeyError)


def test_a_mistake_in_a_task_of_the_pool_ends_its_start():
    async def scenario():
        running = Running()
        client, model = EngineClient(9), ModelSpec("tiny", "")
        pool = WorkerPool(running.settings, model, 1, client, make_a_mistake)
        async with asyncio.timeout(STARTS_WITHIN):
            with pytest.raises(WorkerError, match="internal error"):
                await pool.start()
        await pool.stop()

    asyncio.run(scenario())
