"""Files and batches as the routes use them: of one tenant, off the event loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, ParamSpec, TypeVar

from server.api.bodies.lines import line_check
from server.api.errors import ApiError
from server.api.places import Places
from server.api.schemas.batches import BatchListQuery, BatchRequest
from server.api.schemas.files import FileFields, FileListQuery
from server.api.uploads import Upload
from server.batches.runner import BatchRunner
from server.batches.work import Call
from server.config import Settings, SettingsError
from server.data_folder import NoDataFolderError, data_folder
from server.stores.batches.records import (
    Batch,
    BatchesDamagedError,
    BatchesUnavailableError,
    BatchOverError,
    DiskFullError,
    FileInUseError,
    NewBatch,
    NoRoomError,
    Owner,
    StoredFile,
    UnknownBatchError,
    UnknownFileError,
    WrongPurposeError,
)
from server.stores.batches.store import BatchStore

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_ID_SHOWN = 80
_LINE_HEAD_BYTES = 16 << 10
"""What a line may have besides its body."""
_DISABLED = "This server keeps no files and no batches: batches.limit_bytes is 0"
DISK_FULL = "There is no room for it: the disk is full"
"""What a client is told: not in which folder."""
_UNAVAILABLE = "The server cannot keep or read files and batches; its log says more"


class Batches:
    """The files and batches of all tenants, or the reason why there are none.

    Every method raises ApiError: batches_disabled, batches_unavailable, batches_full, and
    file_not_found or batch_not_found for what this tenant does not have; `param` is the field
    that named it.
    """

    def __init__(
        self, store: BatchStore | None, max_uploads: int, absence: ApiError | None = None
    ) -> None:
        """`absence` is why there is no store."""
        self._store = store
        self._absence = absence
        self._runner: BatchRunner | None = None
        self._uploads = Places(max_uploads, "uploads")

    def share(self, is_shared: Callable[[], bool]) -> None:
        """How to know whether there are several keys: then none takes more than it leaves."""
        self._uploads.is_shared = is_shared
        if self._store is not None:
            self._store.room.is_shared = is_shared

    def compute_with(self, call: Call, settings: Settings) -> None:
        """How lines are answered, once start() is called."""
        if self._store is not None:
            most_bytes = settings.http.max_body_bytes + _LINE_HEAD_BYTES
            self._runner = BatchRunner(
                self._store,
                call,
                settings.batch_lines,
                settings.batches.max_lines,
                most_bytes,
                line_check(settings),
            )

    def start(self) -> None:
        """Begin to compute, with what an earlier run of the server has left."""
        if self._runner is not None:
            self._runner.start()

    def stop_computing(self) -> None:
        """The server is about to stop: what is being computed is left to the next one."""
        if self._runner is not None:
            self._runner.close()

    async def stop(self) -> None:
        """The same, and wait for it."""
        if self._runner is not None:
            await self._runner.stop()

    @asynccontextmanager
    async def upload(self, tenant: str, announced: int) -> AsyncIterator[Upload]:
        """Within it a file can be added whose bytes were counted. Raises queue_full as well."""
        store = self._opened
        with self._uploads.taken(tenant):
            await self._call("", "", store.begin_upload, tenant, announced)

            async def reserve(size: int) -> None:
                await self._call("", "", store.room.grow_upload, tenant, size)

            upload = Upload(reserve, _is_full, store.files.folder)
            try:
                yield upload
            finally:
                store.room.end_upload(tenant, upload.reserved)

    async def add_file(
        self, tenant: str, name: str, fields: FileFields, source: BinaryIO
    ) -> StoredFile:
        """Keep a file for which there is room."""
        seconds = fields.expires_after.seconds if fields.expires_after else None
        add = self._opened.files.add
        return await self._call("", "", add, tenant, name, fields.purpose, source, seconds)

    async def get_file(self, tenant: str, ident: str) -> StoredFile:
        """What is known of a file."""
        return await self._call(ident, "id", self._opened.files.get, tenant, ident)

    async def open_file(self, tenant: str, ident: str) -> tuple[StoredFile, BinaryIO]:
        """A file, and its bytes to read; the caller closes them."""
        return await self._call(ident, "id", self._opened.files.open, tenant, ident)

    async def list_files(self, tenant: str, query: FileListQuery) -> tuple[list[StoredFile], bool]:
        """A page of files, and whether there are more."""
        return await self._call(
            query.after,
            "after",
            self._opened.files.list,
            tenant,
            query.limit,
            query.after,
            query.order == "desc",
            query.purpose,
        )

    async def remove_file(self, tenant: str, ident: str) -> None:
        """Delete a file. Raises file_in_use as well."""
        await self._call(ident, "id", self._opened.files.remove, tenant, ident)

    async def add_batch(self, owner: Owner, body: BatchRequest) -> Batch:
        """Have a file computed."""
        seconds = body.output_expires_after.seconds if body.output_expires_after else None
        new = NewBatch(
            owner=owner,
            input_file=body.input_file_id,
            endpoint=body.endpoint,
            metadata=body.metadata,
            output_seconds=seconds,
        )
        batch = await self._call(body.input_file_id, "input_file_id", self._opened.add, new)
        self._wake()
        return batch

    async def get_batch(self, tenant: str, ident: str) -> Batch:
        """A batch and how far it is."""
        return await self._call(ident, "id", self._opened.get, tenant, ident)

    async def list_batches(self, tenant: str, query: BatchListQuery) -> tuple[list[Batch], bool]:
        """A page of batches, and whether there are more."""
        return await self._call(
            query.after, "after", self._opened.list, tenant, query.limit, query.after
        )

    async def cancel_batch(self, tenant: str, ident: str) -> Batch:
        """Have a batch end. Raises batch_over as well."""
        batch = await self._call(ident, "id", self._opened.cancel, tenant, ident)
        self._wake()
        return batch

    async def remove_batch(self, tenant: str, ident: str) -> None:
        """End a batch if it is not over, and delete it."""
        await self._call(ident, "id", self._opened.remove, tenant, ident)
        self._wake()

    def close(self) -> None:
        """Close the files."""
        if self._store is not None:
            self._store.close()

    @property
    def _opened(self) -> BatchStore:
        if self._store is None:
            assert self._absence is not None
            raise self._absence
        return self._store

    def _wake(self) -> None:
        if self._runner is not None:
            self._runner.wake()

    async def _call(
        self, ident: str, param: str, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        shown = repr(ident[:_ID_SHOWN])
        try:
            return await asyncio.to_thread(method, *args, **kwargs)
        except UnknownFileError:
            raise ApiError("file_not_found", f"The file {shown} does not exist", param) from None
        except UnknownBatchError:
            raise ApiError("batch_not_found", f"The batch {shown} does not exist", param) from None
        except WrongPurposeError as error:
            message = f"The file {shown} has the purpose {str(error)!r}, not 'batch'"
            raise ApiError("invalid_value", message, param) from None
        except FileInUseError as error:
            message = f"{error} reads the file {shown}; cancel it first, or wait for its end"
            raise ApiError("file_in_use", message, param) from None
        except BatchOverError as error:
            message = f"The batch {shown} cannot be cancelled: it is {error}"
            raise ApiError("batch_over", message, param) from None
        except DiskFullError as error:
            log.error("batches: %s", error)
            raise ApiError("batches_full", DISK_FULL) from None
        except NoRoomError as error:
            raise ApiError("batches_full", f"There is no room for it: {error}") from None
        except BatchesUnavailableError as error:
            log.error("batches: %s", error)
            raise ApiError("batches_unavailable", _UNAVAILABLE) from None


def open_batches(settings: Settings) -> Batches:
    """Open the store, or warn that it cannot be had. Raises SettingsError for a damaged one."""
    most = settings.batches.max_uploads
    if not settings.batches.limit_bytes:
        return Batches(None, most, ApiError("batches_disabled", _DISABLED))
    try:
        store = BatchStore(data_folder(settings.batches.directory), settings.batches)
    except BatchesDamagedError as error:
        raise SettingsError(str(error)) from None
    except (NoDataFolderError, BatchesUnavailableError, NoRoomError) as error:
        log.warning("there are no files and batches: %s; set batches.directory", error)
        return Batches(None, most, ApiError("batches_unavailable", _UNAVAILABLE))
    return Batches(store, most)


def _is_full(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.code == "batches_full"
