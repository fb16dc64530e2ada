"""The tier that several machines share: Redis or Valkey.

A payload is a hash, `rwkv-server:state:KEY`, with the fields `payload` and `logits` (0 or 1). The
lengths of a space are a sorted set, `rwkv-server:lengths:SPACE`, scored by the time of their last
use, so that of too many the longest unused are forgotten. Everything expires.

The server is not trusted: a reply of another type, or a larger one than there can be, is an error
like a broken connection. What is in a payload is verified by whoever reads it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import redis
from redis._parsers import _RESP2Parser
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.retry import Retry

from server.protocol.tier_view import TierName
from server.state_cache.bounded_connection import Allowance, bounded
from server.state_cache.breaker import CircuitBreaker
from server.state_cache.store import MOST_LENGTHS, StoreUnavailable

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0
MOST_PAYLOAD_BYTES = 512 << 20
"""Redis has no larger values."""
OPERATION_SECONDS, CLEAR_SECONDS = 5.0, 60.0
"""The longest that all replies of an operation may take, and that emptying the cache may."""
_REPLY_BYTES = 1 << 20
"""The most that is received for an operation, but for a payload."""
_LARGEST_HEADER = 64 << 10
"""Of a payload: what is in it besides state, logits and token ids."""
_TOKEN_BYTES = 4
_MOST_LOGGED = 200

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
    # hiredis makes room for what a reply announces, not for what comes.
    "parser_class": _RESP2Parser,
}

T = TypeVar("T")


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
        snapshot_bytes: int = MOST_PAYLOAD_BYTES,
    ) -> None:
        """`snapshot_bytes`: no snapshot of the model has more, without its token ids."""
        self._errors = 0
        self._snapshot_bytes = snapshot_bytes
        self._ttl = ttl_seconds
        pool = _pool(url)
        self._allowance = Allowance()
        pool.connection_class = bounded(pool.connection_class, self._allowance)
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
            reply = self._client.zrange(_lengths(space), -MOST_LENGTHS, -1)
            members = [_as(bytes, member) for member in _as(list, reply)][:MOST_LENGTHS]
        found = {int(member) for member in members if len(member) < 10 and member.isdigit()}
        return sorted((tokens for tokens in found if above < tokens <= up_to), reverse=True)

    def present(self, keys: Sequence[bytes]) -> dict[bytes, bool]:
        """See SnapshotStore."""
        with self._guarded(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(_state(key), "logits")
            answers = list(zip(keys, pipe.execute(raise_on_error=False), strict=True))
            for _, flag in answers:
                if isinstance(flag, Exception) and not _is_other_type(flag):
                    raise flag
        return {key: flag == b"1" for key, flag in answers if flag in (b"0", b"1")}

    def read(self, space: str, key: bytes, tokens: int) -> bytes | None:
        """See SnapshotStore."""
        most = min(
            self._snapshot_bytes + _LARGEST_HEADER + _TOKEN_BYTES * tokens, MOST_PAYLOAD_BYTES
        )
        with self._guarded(most_bytes=most + _REPLY_BYTES):
            size = _as(int, self._client.hstrlen(_state(key), "payload"))
            if not size:
                return None
            reply = self._client.hget(_state(key), "payload") if size <= most else b""
            payload = None if reply is None else _as(bytes, reply)
        if payload is None:
            return None
        if not payload:
            self._errors += 1
            with suppress(StoreUnavailable):
                self.remove(key)
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
        until, cursor, more = time.monotonic() + CLEAR_SECONDS, 0, True
        while more:
            with self._guarded(self._writing):
                cursor, keys = self._client.scan(cursor, f"{_PREFIX}*", _SCAN_KEYS)
                ours = [key for key in keys if _as(bytes, key).startswith(_PREFIX.encode())]
                if ours:
                    self._client.unlink(*ours)
                more = cursor != 0
                if more and time.monotonic() > until:
                    raise redis.TimeoutError("emptying it takes too long")

    def usage(self) -> tuple[int, int]:
        """See SnapshotStore. Of everything on the server, since nobody counts what is ours."""
        with self._guarded():
            used = _as(int, _as(dict, self._client.info("memory")).get("used_memory"))
            return _as(int, self._client.dbsize()), used

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
    def _guarded(
        self, writing: CircuitBreaker | None = None, most_bytes: int = _REPLY_BYTES
    ) -> Iterator[None]:
        self._server.check()
        if writing is not None:
            writing.check()
        self._allowance.grant(most_bytes, OPERATION_SECONDS)
        try:
            yield
        except Exception as error:  # the client raises anything when it reads nonsense
            self._errors += 1
            why = self._reason(error)
            is_answer = isinstance(error, redis.ResponseError)
            if not is_answer:  # there may be more to read, which is no reply to what comes next
                self._pool.disconnect(inuse_connections=False)
            breaker = writing if writing is not None and is_answer else self._server
            breaker.failed(why)
            raise StoreUnavailable(why) from None
        self._server.succeeded()
        if writing is not None:
            writing.succeeded()

    def _reason(self, error: Exception) -> str:
        """One short line for the log, without the password."""
        lines = str(error).splitlines() or [type(error).__name__]
        line = lines[0].replace(self._password, "***") if self._password else lines[0]
        return "".join(char if char.isprintable() else "?" for char in line[:_MOST_LOGGED])


def _as(kind: type[T], reply: object) -> T:
    """A reply that must be of a type. Raises ValueError."""
    if not isinstance(reply, kind):
        raise ValueError(f"it replied with {type(reply).__name__} instead of {kind.__name__}")
    return reply


def _is_other_type(error: Exception) -> bool:
    """Whether there is something else where a payload would be."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")


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
