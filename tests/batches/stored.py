"""Stores in a folder, and batches in them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.config_stores import BatchesSettings
from server.stores.batches.records import Batch, NewBatch, Owner, StoredFile
from server.stores.batches.store import WINDOW_SECONDS, BatchStore

ENDPOINT = "/v1/completions"


class FakeTime:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


def open_store(folder: Path, now: Callable[[], float] | None = None, **settings: Any) -> BatchStore:
    """With these settings, and the real time unless given another."""
    sections = BatchesSettings(**settings)
    return BatchStore(folder, sections, now) if now else BatchStore(folder, sections)


def no_bound(_: bytes) -> None:
    """Lets any line pass."""


def request(custom_id: str, **body: Any) -> bytes:
    """A right line."""
    fields = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(fields).encode() + b"\n"


def add_file(store: BatchStore, content: bytes, tenant: str = "me", **fields: Any) -> StoredFile:
    """A file for a batch, if the fields do not say."""
    named = {"name": "in.jsonl", "purpose": "batch"} | fields
    return store.files.add(tenant, source=io.BytesIO(content), **named)


def add_batch(
    store: BatchStore, lines: int, tenant: str = "me", window_seconds: float = WINDOW_SECONDS
) -> Batch:
    """A batch of so many right lines, whose prompts are `TENANT NUMBER` from 1 on."""
    numbers = range(1, lines + 1)
    content = b"".join(request(f"{n}", prompt=f"{tenant} {n}") for n in numbers)
    file = add_file(store, content, tenant)
    new = NewBatch(owner=Owner(tenant), input_file=file.id, endpoint=ENDPOINT)
    return store.add(new, window_seconds)


def lines_of(store: BatchStore, ident: str, tenant: str = "me") -> list[dict[str, Any]]:
    """The lines of a file; none if there is no file."""
    if not ident:
        return []
    _, source = store.files.open(tenant, ident)
    with source:
        return [json.loads(text) for text in source]
