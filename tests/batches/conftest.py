"""Async tests run by anyio's plugin, which comes with httpx, on asyncio alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.stores.batches.store import BatchStore
from tests.batches.stored import open_store


@pytest.fixture
def anyio_backend() -> str:
    """asyncio: the client of the workers uses its events."""
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BatchStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()
