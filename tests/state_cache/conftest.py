"""Stores of both tiers."""

import pytest

from server.state_cache.disk_store import DiskStore
from server.state_cache.shared_store import SharedStore
from tests.state_cache.redis_server import running_redis


@pytest.fixture(scope="session")
def shared_redis():
    """A running server for tests that leave it running; the fixture `shared` empties it."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server():
    """A running server that the test may stop."""
    with running_redis() as server:
        yield server


@pytest.fixture
def disk(tmp_path):
    store = DiskStore(tmp_path / "states", 64 << 20)
    yield store
    store.close()


@pytest.fixture
def shared(shared_redis):
    store = SharedStore(shared_redis.url, 60)
    store.clear()
    yield store
    store.close()


@pytest.fixture(params=["disk", "shared"])
def store(request):
    return request.getfixturevalue(request.param)
