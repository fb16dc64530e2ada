"""Async tests run by anyio's plugin, which comes with httpx, on asyncio alone."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """asyncio: the client of the workers uses its events."""
    return "asyncio"
