"""Files and batches as they are kept, and what can go wrong with them.

Times are in seconds since 1970.
"""

from typing import Literal

import msgspec

Ending = Literal["completed", "expired", "cancelled"]
Status = Literal["validating", "in_progress", "finalizing", "cancelling", "failed"] | Ending

OPEN: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
"""Of batches that there is something to do for."""


class UnknownFileError(Exception):
    """This tenant has no file of this id, or has it no more."""


class UnknownBatchError(Exception):
    """This tenant has no batch of this id, or has it no more."""


class FileInUseError(Exception):
    """A batch that is not over reads the file: its id."""


class WrongPurposeError(Exception):
    """The file was not uploaded for batches: the purpose that it was for."""


class BatchOverError(Exception):
    """There is nothing left to cancel: the status of the batch."""


class NoRoomError(Exception):
    """There is no room for more: one line."""


class DiskFullError(NoRoomError):
    """The disk is full: one line, with the file, which is not for clients."""


class BatchesUnavailableError(Exception):
    """The folder cannot be opened, read or written: one line."""


class BatchesDamagedError(BatchesUnavailableError):
    """The database is damaged, or not of this version: one line that says what to do."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file, without its bytes."""

    id: str
    name: str
    """As it was uploaded; no path of this machine."""
    purpose: str
    bytes: int
    created: float
    expires: float | None
    """When it vanishes, unless a batch still reads it; None: never."""


class Owner(msgspec.Struct, frozen=True):
    """Whose a batch is."""

    tenant: str
    key: str = ""
    """The name of the API key; empty without keys."""


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with an input file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None
    """Counted from 1; None when it is the whole file."""


class TokenUse(msgspec.Struct, frozen=True):
    """Tokens of answers."""

    input: int = 0
    cached: int = 0
    """Of the input."""
    output: int = 0
    reasoning: int = 0
    """Of the output."""

    def __add__(self, other: "TokenUse") -> "TokenUse":
        return TokenUse(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    owner: Owner
    input_file: str
    endpoint: str
    metadata: dict[str, str] | None = None
    output_seconds: int | None = None
    """The lifetime of the files with the answers, if it is not the usual one."""


class Batch(NewBatch, frozen=True, kw_only=True):
    """A batch and how far it is."""

    id: str
    created: float
    expires: float
    status: Status = "validating"
    ending: Ending = "completed"
    """What `finalizing` leads to."""
    times: dict[Status, float] = {}
    """When it got to a status."""
    total: int = 0
    """Its lines; 0 until they are validated."""
    completed: int = 0
    failed: int = 0
    model: str = ""
    """What all lines name; empty if they differ."""
    errors: list[LineError] = []
    output_file: str = ""
    error_file: str = ""
    tokens: TokenUse = TokenUse()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one line."""

    status_code: int
    request_id: str
    body: bytes
    """JSON in one line."""
    tokens: TokenUse = TokenUse()
    retry_after: float | None = None
    """So many seconds at least until another try; None: this is the answer."""

    @property
    def is_failure(self) -> bool:
        """Whether it belongs into the file with errors."""
        return not 200 <= self.status_code < 300

    @property
    def blames_engine(self) -> bool:
        """Whether it may fail each time: what others would wait for in vain."""
        return self.status_code == 500
