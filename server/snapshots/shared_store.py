"""The tier that several machines share: Redis or Valkey.

A payload is a hash, `rwkv-server:state:KEY`, with the fields `payload` and `logits` (0 or 1). The
lengths of a space are a sorted set, `rwkv-server:lengths:SPACE`, scored by the time of their last
use, so that of too many the longest unused are forgotten. Everything expires.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.retry import Retry

from server.snapshots.breaker import CircuitBreaker
from server.snapshots.store import MOST_LENGTHS, StoreUnavailable
from server.snapshots.tier_view import TierName

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0
MOST_PAYLOAD_BYTES = 512 << 20
"""Redis has no larger values."""

_PREFIX = "rwkv-server:"
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 30.0
_SCAN_KEYS = 1000
# What one operation has to answer; whatever the URL says of them.
_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "decode_responses": False,
    "protocol": 2,
}


class SharedStore:
    """A SnapshotStore in the database that a URL names.

    Payloads live for `ttl_seconds` after their last use. After an error the server is left alone
    for a second, then two, up to 30; errors that only concern writing (no memory, a replica) leave
    reading on. Raises ValueError for what is no URL of Redis, without connecting.
    """

    name: TierName = "shared"

    def __init__(
        self,
        url: str,
        ttl_seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._errors = 0
        self._ttl = ttl_seconds
        pool = _pool(url)
        self._pool = pool
        self._client: Any = redis.Redis(connection_pool=pool)  # its types differ by version
        self._password: str = pool.connection_kwargs.get("password") or ""
        pauses = _FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS, clock
        self._server = CircuitBreaker(f"shared cache {_place(pool)}", *pauses)
        self._writing = CircuitBreaker(f"writing to the shared cache {_place(pool)}", *pauses)

    @property
    def errors(self) -> int:
        """See SnapshotStore."""
        return self._errors

    def prepare(self) -> None:
        """See SnapshotStore. Where there is no server, the log says so at the start."""
        with self._guarded():
            self._client.ping()

    def lengths(self, space: str, above: int, up_to: int) -> list[int]:
        """See SnapshotStore."""
        with self._guarded():
            members = self._client.zrange(_lengths(space), 0, -1)
        found = {int(member) for member in members if len(member) < 10 and member.isdigit()}
        return sorted((tokens for tokens in found if above < tokens <= up_to), reverse=True)

    def present(self, keys: Sequence[bytes]) -> dict[bytes, bool]:
        """See SnapshotStore."""
        with self._guarded(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(_state(key), "logits")
            found = pipe.execute(raise_on_error=False)
        answers = zip(keys, found, strict=True)
        return {key: flag == b"1" for key, flag in answers if isinstance(flag, bytes)}

    def read(self, space: str, key: bytes, tokens: int) -> bytes | None:
        """See SnapshotStore."""
        with self._guarded():
            payload: bytes | None = self._client.hget(_state(key), "payload")
        if payload is None:
            return None
        with suppress(StoreUnavailable):  # a replica can be read
            self._note_use(space, key, tokens)
        return payload

    def write(self, space: str, key: bytes, tokens: int, has_logits: bool, payload: bytes) -> bool:
        """See SnapshotStore."""
        if len(payload) > MOST_PAYLOAD_BYTES:
            return False
        values = {"payload": payload, "logits": b"1" if has_logits else b"0"}
        with self._guarded(self._writing), self._client.pipeline(transaction=True) as pipe:
            pipe.unlink(_state(key))
            pipe.hset(_state(key), mapping=values)
            pipe.expire(_state(key), self._ttl)
            self._note_length(pipe, space, tokens)
            pipe.execute()
        return True

    def remove(self, key: bytes) -> None:
        """See SnapshotStore."""
        with self._guarded(self._writing):
            self._client.unlink(_state(key))

    def clear(self) -> None:
        """See SnapshotStore. Takes a look at every key of the database."""
        with self._guarded(self._writing):
            cursor, more = 0, True
            while more:
                cursor, keys = self._client.scan(cursor, f"{_PREFIX}*", _SCAN_KEYS)
                if keys:
                    self._client.unlink(*keys)
                more = cursor != 0

    def usage(self) -> tuple[int, int]:
        """See SnapshotStore. Of everything on the server, since nobody counts what is ours."""
        with self._guarded():
            memory = self._client.info("memory")
            return self._client.dbsize(), memory["used_memory"]

    def close(self) -> None:
        """See SnapshotStore."""
        self._pool.disconnect()

    def _note_use(self, space: str, key: bytes, tokens: int) -> None:
        with self._guarded(self._writing), self._client.pipeline(transaction=False) as pipe:
            pipe.expire(_state(key), self._ttl)
            self._note_length(pipe, space, tokens)
            pipe.execute()

    def _note_length(self, pipe: Any, space: str, tokens: int) -> None:
        """In the set of lengths, which lives as long as the payload that was used last."""
        pipe.zadd(_lengths(space), {str(tokens): time.time()})
        pipe.zremrangebyrank(_lengths(space), 0, -MOST_LENGTHS - 1)
        pipe.expire(_lengths(space), self._ttl)

    @contextmanager
    def _guarded(self, writing: CircuitBreaker | None = None) -> Iterator[None]:
        self._server.check()
        if writing is not None:
            writing.check()
        try:
            yield
        except (redis.RedisError, OSError, ValueError, KeyError, RecursionError) as error:
            self._errors += 1
            lines = str(error).splitlines() or [type(error).__name__]
            why = lines[0].replace(self._password, "***") if self._password else lines[0]
            is_answer = isinstance(error, redis.ResponseError)
            breaker = writing if writing is not None and is_answer else self._server
            breaker.failed(why)
            raise StoreUnavailable(why) from None
        self._server.succeeded()
        if writing is not None:
            writing.succeeded()


def _pool(url: str) -> ConnectionPool:
    """Raises ValueError, with nothing of the URL in it, since that may hold a password."""
    try:
        pool = ConnectionPool(**(parse_url(url) | _OPTIONS))  # type: ignore[no-untyped-call]
        pool.connection_class(**pool.connection_kwargs)  # refuses unknown options
    except (ValueError, TypeError, AttributeError, redis.RedisError):
        pass
    else:
        kwargs = pool.connection_kwargs
        if kwargs.get("path") or kwargs.get("host"):
            return pool
    raise ValueError(
        "shared_url: not a URL of Redis: want redis://HOST:PORT/DB, rediss://HOST:PORT/DB or "
        "unix:///PATH"
    )


def _place(pool: ConnectionPool) -> str:
    """Where the server is, without the URL, which may hold a password."""
    kwargs = pool.connection_kwargs
    return kwargs.get("path") or f"{kwargs['host']}:{kwargs.get('port', 6379)}"


def _state(key: bytes) -> str:
    return f"{_PREFIX}state:{key.hex()}"


def _lengths(space: str) -> str:
    return f"{_PREFIX}lengths:{space}"
