"""/v1/files: what clients upload, and what batches leave."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from server.stores.batches.records import StoredFile

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class ExpiresAfter(BaseModel):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class FileFields(BaseModel):
    """The fields of POST /v1/files besides `file`; of `expires_after[…]` as well."""

    model_config = ConfigDict(extra="ignore")

    purpose: Purpose = Field(description="Only those for `batch` are ever read by the server.")
    expires_after: ExpiresAfter | None = None


class FileListQuery(BaseModel):
    """The query of GET /v1/files."""

    limit: int = Field(10_000, ge=1, le=10_000)
    after: str = Field("", description="The id that the page comes after.")
    order: Literal["asc", "desc"] = Field("desc", description="By creation.")
    purpose: str = Field("", description="Only those of this purpose.")


class File(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None

    @classmethod
    def of(cls, file: StoredFile) -> "File":
        """As the API tells of it."""
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=int(file.created),
            expires_at=None if file.expires is None else int(file.expires),
            filename=file.name,
            purpose=file.purpose,
        )


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(BaseModel):
    """A file is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
