"""Files while they are uploaded: counted as they come, whatever was announced."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Message

from server.api.errors import ApiError

_STEP_BYTES = 1 << 20

Grow = Callable[[int], Awaitable[None]]


class Upload:
    """The body of one request. `reserve` keeps room for so many bytes more, or raises ApiError."""

    def __init__(self, reserve: Grow, is_full: Callable[[Exception], bool], folder: Path) -> None:
        """`is_full` tells whether it was too much at once rather than anything else.

        `folder` is on the disk that has the room.
        """
        self.reserved = 0
        """Bytes for which there is room."""
        self._folder = folder
        self._received = 0
        self._reserve = reserve
        self._is_full = is_full

    async def form(self, request: Request, max_fields: int, max_part_size: int) -> FormData:
        """What is in a body, of at most one file. Raises what reading it does, and OSError."""
        counted = self._counted(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            return await counted.form(max_fields=max_fields, max_part_size=max_part_size)
        parser = _FormParser(
            counted.headers,
            counted.stream(),
            max_files=1,
            max_fields=max_fields,
            max_part_size=max_part_size,
        )
        parser.folder = self._folder
        try:
            return await parser.parse()
        except MultiPartException as error:
            raise ApiError("invalid_value", f"The form is not valid: {error.message}") from None

    def _counted(self, request: Request) -> Request:
        async def receive() -> Message:
            message = await request.receive()
            await self._grow(len(message.get("body", b"")))
            return message

        return Request(request.scope, receive)

    async def _grow(self, size: int) -> None:
        self._received += size
        missing = self._received - self.reserved
        if missing <= 0:
            return
        try:
            await self._take(max(missing, _STEP_BYTES))
        except Exception as error:
            if missing >= _STEP_BYTES or not self._is_full(error):
                raise
            await self._take(missing)

    async def _take(self, size: int) -> None:
        await self._reserve(size)
        self.reserved += size


class _FormParser(MultiPartParser):
    """Puts files that are too long for memory into a folder of ours.

    The system's folder for temporary files is often small or in memory, and nobody reserves there.
    """

    folder: Path

    def on_headers_finished(self) -> None:
        """A part begins. The library's own file is still empty."""
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            upload.file.close()
            kept = SpooledTemporaryFile(self.spool_max_size, "w+b", dir=str(self.folder))  # noqa: SIM115
            self._files_to_close_on_error.append(kept)
            upload.file = cast(BinaryIO, kept)
