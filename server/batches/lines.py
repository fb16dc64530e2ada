"""The lines of an input file: one request each, checked before anything of them is computed."""

import hashlib
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from server.stores.batches.records import LineError

MAX_ERRORS = 100
"""That many are told of a file; then it is read no further."""
MAX_CUSTOM_ID = 512
_ERROR_CHARS = 200
_OFF = (b"false", b"null")


class Place(NamedTuple):
    """Where a line is in its file."""

    number: int
    """Counted from 1."""
    start: int
    size: int
    """Bytes."""


class Line(NamedTuple):
    """One request."""

    number: int
    """Of the line, counted from 1."""
    custom_id: str
    body: bytes
    """A JSON object."""
    model: str
    """What the body names; "" if nothing."""


class Checked(NamedTuple):
    """What there is in a file."""

    total: int
    model: str
    """What all lines name; empty if they differ."""
    errors: list[LineError]


class InvalidLineError(Exception):
    """What is wrong with a line."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class _Request(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


Check = Callable[[bytes], None]
"""Raises InvalidLineError for JSON with more in it than the server reads."""


class LineReader:
    """Reads files of requests to one endpoint."""

    def __init__(
        self, endpoint: str, max_lines: int, max_line_bytes: int, check_size: Check
    ) -> None:
        self._endpoint = endpoint
        self._max_lines = max_lines
        self._max_line_bytes = max_line_bytes
        self._check_size = check_size

    def check(self, path: Path, is_stopped: Callable[[], bool]) -> Checked:
        """Read all lines, unless stopped: then what there was so far. Raises OSError."""
        errors: list[LineError] = []
        seen: set[bytes] = set()
        models: set[str] = set()
        total = 0
        with path.open("rb") as file:
            for place, text in self._texts(file):
                total += 1
                if total > self._max_lines:
                    message = f"The file has more than {self._max_lines} requests"
                    errors.append(LineError("too_many_requests", message))
                try:
                    line = self._parse(place.number, text)
                    _check_unique(line, seen)
                    models.add(line.model)
                except InvalidLineError as error:
                    errors.append(LineError(error.code, str(error), error.param, place.number))
                if len(errors) == MAX_ERRORS or total > self._max_lines or is_stopped():
                    break
        if not total:
            errors.append(LineError("empty_file", "The file has no requests"))
        return Checked(total, models.pop() if len(models) == 1 else "", errors)

    def missing(self, path: Path, done: Collection[int]) -> Iterator[Place]:
        """The lines of a file without those of these numbers. Raises OSError."""
        with path.open("rb") as file:
            for place, _ in self._texts(file):
                if place.number not in done:
                    yield place

    def read(self, path: Path, place: Place) -> Line:
        """A line of a file that was found right.

        Raises OSError, and InvalidLineError when the file is not what it was.
        """
        with path.open("rb") as file:
            file.seek(place.start)
            text = file.read(place.size)
        return self._parse(place.number, _without_mark(place, text))

    def _texts(self, file: BinaryIO) -> Iterator[tuple[Place, bytes | None]]:
        """Place and text of each line that is not blank; no text of one that is too long."""
        number = start = 0
        while text := file.readline(self._max_line_bytes + 1):
            number += 1
            place = Place(number, start, len(text))
            start += len(text)
            if len(text) <= self._max_line_bytes:
                text = _without_mark(place, text)
                if text and not text.isspace():
                    yield place, text
                continue
            while text and not text.endswith(b"\n"):
                text = file.readline(1 << 20)
                start += len(text)
            yield place, None

    def _parse(self, number: int, text: bytes | None) -> Line:
        if text is None:
            message = f"The line has more than {self._max_line_bytes} bytes"
            raise InvalidLineError("line_too_large", message)
        self._check_size(text)
        request, body = _decode(text)
        if not 0 < len(request.custom_id) <= MAX_CUSTOM_ID:
            message = f"custom_id must have 1 to {MAX_CUSTOM_ID} characters"
            raise InvalidLineError("invalid_custom_id", message, "custom_id")
        if request.method != "POST":
            raise InvalidLineError("invalid_method", "method must be POST", "method")
        if request.url != self._endpoint:
            message = f"url must be the endpoint of the batch, {self._endpoint}"
            raise InvalidLineError("mismatched_url", message, "url")
        for field in ("stream", "background"):
            if field in body and bytes(body[field]) not in _OFF:
                message = f"a batch waits for whole answers: leave `{field}` out"
                raise InvalidLineError("unsupported_parameter", message, f"body.{field}")
        return Line(number, request.custom_id, bytes(request.body), _model(body))


def _without_mark(place: Place, text: bytes) -> bytes:
    return text.removeprefix(BOM_UTF8) if place.start == 0 else text


def _decode(text: bytes) -> tuple[_Request, dict[str, msgspec.Raw]]:
    try:
        text.decode()
        request = msgspec.json.decode(text, type=_Request)
    except msgspec.ValidationError as error:
        missing = "missing required field" in str(error)
        code = "missing_required_parameter" if missing else "invalid_value"
        raise InvalidLineError(code, str(error)[:_ERROR_CHARS]) from None
    except msgspec.DecodeError as error:
        raise InvalidLineError("invalid_json_line", str(error)[:_ERROR_CHARS]) from None
    except UnicodeDecodeError:
        raise InvalidLineError("invalid_json_line", "The line is not UTF-8") from None
    except RecursionError:
        raise InvalidLineError("invalid_json_line", "The line is nested too deeply") from None
    try:
        return request, msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        message = "body must be a JSON object"
        raise InvalidLineError("invalid_value", message, "body") from None


def _model(body: dict[str, msgspec.Raw]) -> str:
    try:
        return msgspec.json.decode(body.get("model", b'""'), type=str)
    except msgspec.DecodeError:
        return ""  # the endpoint will say so


def _check_unique(line: Line, seen: set[bytes]) -> None:
    # A digest takes less memory than the longest ids, of which there may be many.
    digest = hashlib.blake2b(line.custom_id.encode(), digest_size=16).digest()
    if digest in seen:
        message = "custom_id is that of an earlier line"
        raise InvalidLineError("duplicate_custom_id", message, "custom_id")
    seen.add(digest)
