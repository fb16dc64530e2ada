"""A server on loopback that speaks the protocol of Redis as a test says."""

import socket
import threading
from contextlib import contextmanager, suppress


class LyingRedis:
    """Answers each command with what `reply(command)` gives: bytes, or an iterable of them.

    Setting up a connection succeeds; after None the connection is closed.
    """

    def __init__(self):
        self.reply = lambda command: b"+OK\r\n"  # noqa: ARG005
        self.sent = 0
        """Bytes, in all."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with (
            suppress(OSError, ValueError, TypeError),
            connection,
            connection.makefile("rb") as file,
        ):
            while command := _command(file):
                setup = command[0].upper() in (b"CLIENT", b"SELECT", b"HELLO")
                reply = b"+OK\r\n" if setup else self.reply(command)
                if reply is None:
                    return
                for part in [reply] if isinstance(reply, bytes) else reply:
                    connection.sendall(part)
                    self.sent += len(part)


def _command(file):
    line = file.readline()
    if not line.startswith(b"*"):
        return []
    found = []
    for _ in range(int(line[1:])):
        size = int(file.readline()[1:])
        found.append(file.read(size + 2)[:-2])
    return found


@contextmanager
def lying_redis():
    server = LyingRedis()
    try:
        yield server
    finally:
        server.close()
