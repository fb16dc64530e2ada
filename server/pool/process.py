"""One worker process: started, watched for its end and for silence, and ended."""

import asyncio
import contextlib
import signal

import msgspec

from server.absolute_paths import absolute_path
from server.children import child
from server.pool.records import WorkerLink
from server.protocol.messages import Assignment, Ready

REFUSED = 2
"""The exit code of a worker that has said why it cannot start."""

_LAST_MESSAGE_SECONDS = 0.2


class WorkerError(Exception):
    """A worker could not start: one line, and the exit code of a server that cannot either."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WorkerProcess:
    """A process and what the pool knows of it. One that takes its place has another name."""

    def __init__(
        self,
        index: int,
        model_id: str,
        process: asyncio.subprocess.Process,
        link: WorkerLink,
    ) -> None:
        self.index = index
        self.title = f"worker {index} of {model_id}"
        """For people."""
        self.link = link
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        """Set by what the worker says: that it is ready, or a WorkerError."""
        self._process = process
        self._silence = 0.0
        self._killed_for = ""

    @classmethod
    async def start(
        cls, index: int, assignment: Assignment, link: WorkerLink, cache_dir: str
    ) -> "WorkerProcess":
        """Start one; it compiles into `cache_dir`, if that is not empty."""
        worker = child("server.worker.program")
        cache = {"NUMBA_CACHE_DIR": absolute_path(cache_dir)} if cache_dir else {}
        process = await asyncio.create_subprocess_exec(
            *worker.command,
            stdin=asyncio.subprocess.PIPE,
            env=worker.environment | cache,
            cwd=worker.directory,
            pass_fds=[worker.lock],
            start_new_session=True,  # Ctrl-C in a terminal is for the API process
        )
        assert process.stdin is not None
        # It may have ended already, which uvloop calls a RuntimeError: the pool will see.
        with contextlib.suppress(ConnectionError, RuntimeError):
            process.stdin.write(msgspec.json.encode(assignment) + b"\n")
            await process.stdin.drain()
        return cls(index, assignment.model.id, process, link)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has said so."""
        done = self.ready.done() and not self.ready.cancelled()
        return done and self.ready.exception() is None

    async def wait_until_ready(self) -> Ready:
        """Raises WorkerError when it says that it cannot start, or ends."""
        end = asyncio.create_task(self._fail_at_end())
        try:
            return await self.ready
        finally:
            end.cancel()

    async def wait(self) -> None:
        """Return when it has ended."""
        await self._process.wait()

    @property
    def how_it_ended(self) -> str:
        """What follows its name in a sentence; it has ended."""
        code = self._process.returncode
        assert code is not None
        if self._killed_for:
            return f"was killed: {self._killed_for}"
        if code == -signal.SIGKILL:
            return "was killed by SIGKILL (out of memory?)"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def _fail_at_end(self) -> None:
        await self._process.wait()
        # Its last message may still be on the way, and says more than the exit code.
        await asyncio.sleep(_LAST_MESSAGE_SECONDS)
        self.fail(WorkerError(f"{self.title} {self.how_it_ended}", exit_code=1))

    def fail(self, error: WorkerError) -> None:
        """It cannot start; without effect when it has, or has failed before."""
        if not self.ready.done():
            self.ready.set_exception(error)

    def heard(self) -> None:
        """It has said something."""
        self._silence = 0.0

    def add_silence(self, seconds: float) -> float:
        """It has said nothing for so much longer; returns for how long in all."""
        self._silence += seconds
        return self._silence

    def kill(self, reason: str) -> bool:
        """End it at once. Returns whether it was running; if not, nothing happens."""
        if self._process.returncode is not None:
            return False
        self._killed_for = reason
        self._process.kill()
        return True
