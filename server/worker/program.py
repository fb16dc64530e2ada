"""A worker process: `python -m server.worker.program`, started by the pool.

Its standard input carries one line of JSON (the Assignment) and then stays open for as long as the
API process lives: when it closes, the worker has nobody to work for and ends.
"""

import logging
import os
import signal
import sys
import threading

import msgspec
import zmq

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import locate
from server.config import Settings
from server.engine.build import BuiltEngine, build_engine
from server.engine.build_cache import build_cache
from server.engine.engine import Engine
from server.logs import setup_logging
from server.protocol.messages import (
    Abort,
    Assignment,
    CacheAnswer,
    CacheQuery,
    EngineAnswer,
    EngineQuery,
    Failed,
    FromWorker,
    Generate,
    Outputs,
    Ping,
    Pong,
    Progress,
    Ready,
    Shutdown,
    Sleep,
    ToWorker,
    Wake,
    decode_to_worker,
    encode,
)
from server.protocol.outputs import RequestOutput
from server.state_cache.encoding import SnapshotError
from server.temporary_files import remove_own
from server.tokenizer.base import TokenizerError
from server.worker.heartbeat import heartbeat
from server.worker.outbox import Outbox

log = logging.getLogger("server.worker.program")  # this is __main__

FLUSH_SECONDS = 3.0
"""For cached states to reach the disk when the server stops; less than pool.STOP_SECONDS."""


def main() -> int:
    """Load, announce, and serve until told to stop. Returns the exit code."""
    # The API process decides when to stop. All processes of a service get SIGTERM from systemd.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    if assignment.cpus:  # threads inherit it, so none may have started
        os.sched_setaffinity(0, assignment.cpus)
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    settings = Settings.model_validate_json(assignment.settings)
    setup_logging(settings.logging)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.ROUTING_ID, assignment.name.encode())
    socket.set(zmq.SNDHWM, 0)  # bounded by the requests that the API process admits
    socket.set(zmq.RCVHWM, 0)
    socket.connect(assignment.address)
    try:
        return _serve(socket, settings, assignment)
    except Exception as error:
        is_known = isinstance(error, MemoryError | ConnectionError)
        reason = (str(error) or "out of memory") if is_known else "unexpected error"
        who = f"{assignment.name} of {assignment.model.id}"
        log.error("%s ends: %s", who, reason, exc_info=not is_known)
        # Threads that wait or compute must not keep it alive: its requests wait for its end.
        os._exit(1)
    finally:
        context.destroy(linger=2000)  # with the socket that watches the connection


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    remove_own()
    os._exit(1)


def _serve(socket: "zmq.Socket[bytes]", settings: Settings, assignment: Assignment) -> int:
    sending = threading.Lock()  # the socket is not for two threads at once

    def send(message: FromWorker) -> None:
        with sending:
            socket.send(encode(message))

    def on_progress(stage: str, done: int, total: int) -> None:
        send(Progress(stage, done, total))

    try:
        model, threads = assignment.model, assignment.threads
        files = locate(model.path, model.tokenizer)
        with heartbeat(lambda: send(Pong())):  # compiling says nothing for long
            built = build_engine(
                files,
                model.dtype,
                settings.engine,
                threads,
                on_progress,
                model.adapters,
                model.states,
                lambda codec: build_cache(codec, settings.cache, assignment.cache_bytes),
                model.reranker,
            )
    except (CheckpointError, TokenizerError, OSError, MemoryError) as error:
        send(Failed(str(error) or type(error).__name__))
        return 2
    send(_ready(built, assignment.cache_bytes))
    _loop(socket, built.engine, Outbox(settings.engine.events_per_second))
    return 0


def _ready(built: BuiltEngine, cache_bytes: int) -> Ready:
    return Ready(
        built.dtype,
        built.threads,
        built.load_seconds,
        built.compile_seconds,
        cache_bytes,
        built.codec.fingerprint,
    )


def _loop(socket: "zmq.Socket[bytes]", engine: Engine, outbox: Outbox) -> None:
    """Take in what has come, compute a step, send its outputs; sleep only when idle.

    Raises ConnectionError when the connection is gone: a message that there was no memory for, so
    that a request may be lost, and only another worker can make up for it.
    """
    broken = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(broken, zmq.POLLIN)
    while True:
        if not engine.has_work:
            _send(socket, outbox.empty())
            engine.idle()
            poller.poll()
        if broken.poll(0):
            raise ConnectionError("its connection broke, as when memory for a message is missing")
        while socket.poll(0):
            message = decode_to_worker(socket.recv())
            if isinstance(message, Shutdown):
                engine.close(FLUSH_SECONDS)
                return
            answer = _obey(message, engine, outbox)
            if answer is not None:
                socket.send(encode(answer))
        if engine.has_work:
            _send(socket, outbox.pass_on(engine.step()))


def _send(socket: "zmq.Socket[bytes]", outputs: list[RequestOutput]) -> None:
    if outputs:
        socket.send(encode(Outputs(outputs)))


def _obey(message: ToWorker, engine: Engine, outbox: Outbox) -> FromWorker | None:
    """Do what a message says between two steps; the answer to it, if it has one."""
    if isinstance(message, Generate):
        try:
            engine.add(message.request_id, message.task)
        except SnapshotError as error:
            return Outputs([RequestOutput(message.request_id, "", [], "error", str(error))])
    elif isinstance(message, Abort):
        engine.abort(message.request_id)
        outbox.forget(message.request_id)
    elif isinstance(message, Sleep):
        engine.sleep(message.request_id)
    elif isinstance(message, Wake):
        engine.wake(message.request_id)
    elif isinstance(message, CacheQuery):
        if message.clear:
            engine.cache.clear(message.clear_shared)
        return CacheAnswer(message.query_id, engine.cache.report())
    elif isinstance(message, EngineQuery):
        return EngineAnswer(message.query_id, engine.report)
    elif isinstance(message, Ping):
        return Pong()
    return None


if __name__ == "__main__":
    sys.exit(main())
