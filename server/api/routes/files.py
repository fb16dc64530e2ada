"""/v1/files: files of the tenant that asks."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from server.api.batches import DISK_FULL
from server.api.call import call_of
from server.api.dependencies import ServiceDependency
from server.api.errors import ApiError, ClientGoneError
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.files import DeletedFile, File, FileFields, FileList, FileListQuery
from server.api.tenant import owner_of
from server.api.uploads import Upload
from server.stores.batches.records import StoredFile

log = logging.getLogger(__name__)

FILES_PATH = "/v1/files"
"""Bodies may be as large as a file, and FORM_BYTES more."""
FORM_BYTES = 64 << 10
MAX_NAME = 255

_MOST_FIELDS = 16
_CHUNK_BYTES = 256 << 10
_CONTENT = "application/octet-stream"
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        **FileFields.model_json_schema(ref_template="#/components/schemas/{model}")["properties"],
    },
}

router = APIRouter(tags=["batches"], responses=ERROR_RESPONSES)


@router.post(
    FILES_PATH,
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def create_file(request: Request, service: ServiceDependency) -> File:
    """Keep a file, for a batch to read."""
    tenant, batches = owner_of(request).tenant, service.batches
    most = service.settings.batches.max_file_bytes
    declared = request.headers.get("content-length", "")
    announced = min(int(declared), most) if declared.isdecimal() else 0
    async with (
        batches.upload(tenant, announced) as upload,
        _form(upload, request) as form,
    ):
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError("missing_required_parameter", "file: should be a file", "file")
        name = file.filename or ""
        if len(name) > MAX_NAME:
            message = f"file: its name should have at most {MAX_NAME} characters"
            raise ApiError("invalid_value", message, "file")
        if (file.size or 0) > most:
            message = f"The file is larger than {most} bytes"
            raise ApiError("request_too_large", message, "file")
        return File.of(await batches.add_file(tenant, name, _fields(form), file.file))


@router.get(FILES_PATH, response_model=FileList)
async def list_files(
    query: Annotated[FileListQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """A page of files, the newest first."""
    found = await service.batches.list_files(owner_of(request).tenant, query)
    # There may be thousands.
    body = await asyncio.to_thread(_encoded, *found)
    return Response(body, media_type="application/json")


@router.get(FILES_PATH + "/{id}")
async def get_file(id: str, request: Request, service: ServiceDependency) -> File:
    """One file, without its bytes."""
    return File.of(await service.batches.get_file(owner_of(request).tenant, id))


@router.delete(FILES_PATH + "/{id}")
async def delete_file(id: str, request: Request, service: ServiceDependency) -> DeletedFile:
    """Delete a file for good."""
    await service.batches.remove_file(owner_of(request).tenant, id)
    return DeletedFile(id=id)


@router.get(
    FILES_PATH + "/{id}/content",
    response_class=Response,
    responses={200: {"content": {_CONTENT: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def get_content(id: str, request: Request, service: ServiceDependency) -> Response:
    """The bytes of a file."""
    file, source = await service.batches.open_file(owner_of(request).tenant, id)
    call_of(request.scope).exits.callback(source.close)
    headers = {"content-length": str(file.bytes), "content-disposition": "attachment"}
    return StreamingResponse(_chunks(source), media_type=_CONTENT, headers=headers)


def _encoded(files: Sequence[StoredFile], has_more: bool) -> str:
    return FileList(
        data=[File.of(file) for file in files],
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        has_more=has_more,
    ).model_dump_json()


@asynccontextmanager
async def _form(upload: Upload, request: Request) -> AsyncIterator[FormData]:
    """The form of a body; its file is on the disk. Raises ApiError."""
    # No other kind of form has files; to read millions of empty fields takes long.
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        message = "file: should be a file, in a form of the type multipart/form-data"
        raise ApiError("missing_required_parameter", message, "file")
    try:
        form = await upload.form(request, _MOST_FIELDS, FORM_BYTES)
    except ApiError:
        raise  # the body is too large
    except HTTPException as error:
        raise ApiError("invalid_value", f"The form is not valid: {error.detail}") from None
    except ClientDisconnect:
        raise ClientGoneError from None
    except OSError as error:
        log.error("an upload: %s", error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ApiError("batches_full", DISK_FULL) from None
        message = "The server cannot keep the file; its log says more"
        raise ApiError("batches_unavailable", message) from None
    try:
        yield form
    finally:
        await form.close()


def _fields(form: FormData) -> FileFields:
    values: dict[str, object] = {}
    nested: dict[str, object] = {}
    for name, value in form.items():
        outer, bracket, inner = name.partition("[")
        if outer == "expires_after" and bracket:
            nested[inner.removesuffix("]")] = value
        elif name != "file":
            values[name] = value
    try:
        return FileFields.model_validate(values | ({"expires_after": nested} if nested else {}))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in found]
        ) from None


async def _chunks(source: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(source.read, _CHUNK_BYTES):
        yield chunk
