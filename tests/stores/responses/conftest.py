"""Stores in SQLite and in PostgreSQL: every test of them runs with both."""

import pytest

from server.stores.responses.conversation_store import ConversationStore
from server.stores.responses.database import open_postgres, open_sqlite
from server.stores.responses.response_store import ResponseStore
from server.stores.responses.room import Bounds
from server.stores.responses.threads import Threads
from tests.stores.responses.postgres_server import running_postgres


@pytest.fixture(scope="session")
def postgres():
    with running_postgres() as server:
        yield server


class Stores:
    """Both stores over one database, whose clock is `time`."""

    def __init__(self, open_database):
        self.open_database = open_database
        self.time = 1_000_000.0
        self.opened = []
        self.open()

    def open(self, limit=1000, limit_bytes=1 << 20, ttl_seconds=0, **others):
        """Once more, with other bounds."""
        self.database = self.open_database()
        self.opened.append(self.database)
        bounds = Bounds(limit, limit_bytes, ttl_seconds, **others)
        threads = Threads(self.database, bounds, lambda: self.time)
        self.responses, self.conversations = ResponseStore(threads), ConversationStore(threads)


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request, tmp_path):
    def open_one():
        return open_sqlite(tmp_path)

    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        server.empty()

        def open_one():
            return open_postgres(server.url)

    stores = Stores(open_one)
    yield stores
    for database in stores.opened:
        database.close()
