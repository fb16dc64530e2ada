"""Where workers find the server: a socket in a folder that only this user may enter."""

from errno import ENAMETOOLONG
from pathlib import Path

import zmq
import zmq.asyncio

from server.pool.process import REFUSED, WorkerError
from server.private_folder import PrivateFolder


class MeetingPlace:
    """Owns the folder, and has the socket listen in it."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        """Raises OSError."""
        self._socket = socket
        self._folder = PrivateFolder()
        self._is_open = False

    @property
    def address(self) -> str:
        """What workers are told."""
        return f"ipc://{self._path}"

    def open(self) -> None:
        """Listen; also anew, elsewhere, when somebody has emptied the folder of temporary files.

        Workers that are connected stay so, others would look for it in vain and for ever. Raises
        WorkerError and OSError.
        """
        if self._is_open:
            if self._path.exists():
                return
            self._socket.unbind(self.address)
            self._is_open = False
            self._folder.remove()
            self._folder = PrivateFolder()
        try:
            self._socket.bind(self.address)
        except zmq.ZMQError as error:
            reason = "its path is too long" if error.errno == ENAMETOOLONG else error.strerror
            raise WorkerError(
                f"TMPDIR: no socket in {self._folder.path}: {reason}; name another folder", REFUSED
            ) from None
        self._is_open = True

    def close(self) -> None:
        """Remove the folder; the socket is closed already."""
        self._folder.remove()

    @property
    def _path(self) -> Path:
        return self._folder.path / "workers"
