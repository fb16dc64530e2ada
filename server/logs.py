"""Logging to standard error, for people or as JSON lines, with the current request's id."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from server.config import LoggingSettings

request_id: ContextVar[str] = ContextVar("request_id", default="")


class HumanFormatter(logging.Formatter):
    """`12:34:56 INFO    worker  loaded in 0.4 s`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        ident = request_id.get()
        name = record.name.removeprefix("server.")
        text = f"{clock} {record.levelname:<7} {name}  {record.getMessage()}"
        if ident:
            text += f"  [{ident}]"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id?, exception?.

    The dictionary `fields` of a record, given as `extra`, is added to that.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if ident := request_id.get():
            entry["request_id"] = ident
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json_line(entry)


def json_line(value: Any) -> str:
    """JSON of printable characters only: one line, whatever reads it, and safe in a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def setup_logging(settings: LoggingSettings) -> None:
    """Send all logging of this process to standard error, once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else HumanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for noisy in ("numba", "asyncio", "httpx", "httpcore", "gguf", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
