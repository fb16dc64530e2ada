"""/v1/cache: what an operator sees of the cached states."""

from typing import Literal

from pydantic import BaseModel

from server.protocol.cache_view import CacheReport


class WorkerCache(BaseModel):
    """The cache of one worker of a model."""

    model: str
    worker: str
    cache: CacheReport | None
    """Null of a worker that has not answered in time."""


class CacheList(BaseModel):
    """All workers of all models that are loaded."""

    object: Literal["list"] = "list"
    data: list[WorkerCache]


class CacheCleared(BaseModel):
    """The caches are empty now."""

    object: Literal["cache.cleared"] = "cache.cleared"
    models: list[str]
    complete: bool
    """Whether all workers have answered."""
