"""A child program that answers what may take for ever: bounded in time and memory, and ended then.

Both sides are here. Requests and answers are frames of bytes, one answer to each request.
"""

import contextlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import BinaryIO

from server.children import child

_LENGTH = struct.Struct(">Q")
_MOST_BYTES = 1 << 30
_BYTES_AT_ONCE = 1 << 20


class ChildEndedError(Exception):
    """It did not answer: why, as the end of a sentence.

    `status` is how the process that had the request ended, or was ended; None if none had it.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class BoundedChild:
    """Owns the process, which is started by the first request, and anew by one after its end."""

    def __init__(self, module: str, begin: bytes, seconds: float) -> None:
        """`begin` is the first request to every new process; it may take `seconds` for a request.

        These are of the clock on the wall, so for however busy a machine; what it may compute the
        program bounds itself, see answer_requests().
        """
        self._module = module
        self._begin = begin
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._end: Callable[[], object] = lambda: None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def begin(self) -> bytes:
        """The answer to the first request, of a process that is started for it.

        Raises ChildEndedError, also when it cannot be started.
        """
        with self._lock:
            return self._started()

    def ask(self, request: bytes) -> bytes:
        """Raises ChildEndedError; the next request is answered by another process."""
        with self._lock:
            if not self.is_running:
                try:
                    self._started()
                except ChildEndedError as error:
                    raise ChildEndedError(str(error)) from None
            return self._exchanged(request)

    def _started(self) -> bytes:
        self._end()
        ours, its = socket.socketpair()
        program = child(self._module)
        try:
            with its:
                self._process = subprocess.Popen(
                    program.command,
                    stdin=its.fileno(),
                    stdout=its.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=program.environment,
                    cwd=program.directory,
                    pass_fds=[program.lock],
                )
        except OSError as error:
            ours.close()
            raise ChildEndedError(f"cannot be started: {error.strerror or error}") from None
        self._socket = ours
        self._end = weakref.finalize(self, _end, self._process, ours)
        return self._exchanged(self._begin)

    def _exchanged(self, request: bytes) -> bytes:
        assert self._process is not None
        assert self._socket is not None
        deadline = time.monotonic() + self._seconds
        try:
            _send(self._socket, request, deadline)
            return _receive(self._socket, deadline)
        except TimeoutError:
            self._end()
            reason = f"took more than {self._seconds:g} s"
            raise ChildEndedError(reason, self._process.returncode) from None
        except OSError:
            # It closes its end a moment before it can be waited for.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            self._end()
            status = self._process.returncode
            raise ChildEndedError(_how(status), status) from None


def answer_requests(
    answer: Callable[[bytes], bytes],
    cpu_seconds: Callable[[bytes], float],
    memory_bytes: int,
) -> int:
    """What such a program does until its input ends; the exit status.

    It ends by SIGPROF when a request takes more than its seconds of a processor, if these are not
    0, and with an exception of `answer`.
    """
    # The process that asks decides when to stop. All of a service get SIGTERM from systemd.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory_bytes)):
        with contextlib.suppress(ValueError):  # where a lower limit is set already
            resource.setrlimit(what, (most, most))
    try:
        while (request := _read_frame(sys.stdin.buffer)) is not None:
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds(request))
            found = answer(request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            sys.stdout.buffer.write(_LENGTH.pack(len(found)))
            sys.stdout.buffer.write(found)
            sys.stdout.buffer.flush()
    except MemoryError:
        return _OUT_OF_MEMORY
    return 0


_OUT_OF_MEMORY = 77  # an exit status that nothing else uses


def _how(status: int | None) -> str:
    if status == -signal.SIGPROF:
        return "took too long"
    if status in (_OUT_OF_MEMORY, -signal.SIGKILL):
        return "needed too much memory"
    return f"ended its process with status {status}"


def _read_frame(stream: BinaryIO) -> bytes | None:
    """The next one; None at the end of the input."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return stream.read(_LENGTH.unpack(head)[0])


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def _receive(connection: socket.socket, deadline: float) -> bytes:
    (size,) = _LENGTH.unpack(_receive_bytes(connection, _LENGTH.size, deadline))
    if size > _MOST_BYTES:
        raise ConnectionError("too long an answer")
    return _receive_bytes(connection, size, deadline)


def _receive_bytes(connection: socket.socket, size: int, deadline: float) -> bytes:
    parts, missing = [], size
    while missing:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(min(missing, _BYTES_AT_ONCE))
        if not part:
            raise ConnectionError("ended")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _end(process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
    """Whatever it does: nobody waits for it."""
    connection.close()
    process.kill()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        process.wait(5)
