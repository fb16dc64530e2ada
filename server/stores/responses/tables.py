"""The tables: threads of responses and conversations, and their items.

A thread is a conversation, or all responses that go on from one another. It is what expires and
what makes room for others, always as a whole. Items are in the order of their numbers.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

SCHEMA_VERSION = 1

metadata = MetaData()

_number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts only INTEGER up by itself


class Ident(TypeDecorator[str]):
    """An id, which clients may make up: PostgreSQL has no text with a NUL, and so no such id."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Any) -> str | None:
        """As it is looked for."""
        return None if value is None else value.replace("\0", "\ufffd")


def _key() -> Column[int]:
    return Column("number", _number, primary_key=True)


version = Table("rwkv_version", metadata, Column("version", Integer, nullable=False))

threads = Table(
    "rwkv_threads",
    metadata,
    _key(),
    Column("tenant", Text, nullable=False),
    Column("used", Double, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    # Of a conversation; null of others.
    Column("id", Ident, unique=True),
    Column("created", Double, nullable=False),
    Column("metadata", Text, nullable=False),
    sqlite_autoincrement=True,  # numbers are never used again
)

responses = Table(
    "rwkv_responses",
    metadata,
    _key(),
    Column("id", Ident, nullable=False, unique=True),
    Column("thread", ForeignKey(threads.c.number, ondelete="CASCADE"), nullable=False, index=True),
    Column("parent", ForeignKey("rwkv_responses.number", ondelete="CASCADE"), index=True),
    Column("history_end", BigInteger),
    Column("status", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # Deleted, but others go on from it.
    Column("hidden", Boolean, nullable=False),
    # Of unfinished ones.
    Column("request", Text),
    Column("lease_until", Double, nullable=False),
    sqlite_autoincrement=True,
)

items = Table(
    "rwkv_items",
    metadata,
    _key(),
    Column("id", Ident, nullable=False, index=True),
    Column("thread", ForeignKey(threads.c.number, ondelete="CASCADE"), nullable=False, index=True),
    Column("response", ForeignKey(responses.c.number, ondelete="SET NULL"), index=True),
    Column("is_output", Boolean, nullable=False),
    # In the conversation, for all to see; items of a response are when it has finished.
    Column("listed", Boolean, nullable=False),
    Column("body", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

Index("rwkv_threads_by_use", threads.c.used)
Index("rwkv_threads_by_tenant", threads.c.tenant, threads.c.bytes)
Index("rwkv_responses_by_status", responses.c.status, responses.c.lease_until)
