"""A named state of an earlier version's arithmetic, made anew from the token ids that it keeps."""

import asyncio
import logging
import time

from server.api.errors import ApiError, not_ready, queue_full
from server.pool.client import NotReadyError, QueueFullError
from server.protocol.task import Task
from server.registry.manager import Route
from server.sampling.params import READS_ONLY
from server.state_cache.encoding import SnapshotError

log = logging.getLogger(__name__)


def incompatible(ident: str, model: str, route: Route) -> ApiError:
    """The 409 of a state that this model cannot go on from."""
    return ApiError(
        "state_incompatible",
        f"The state {ident!r} was made by {model!r} with other weights, weight type "
        f"or version of the server than {route.id!r} has now",
        "state_id",
    )


async def read_again(ident: str, payload: bytes, tenant: str, route: Route) -> bytes:
    """The state of the same tokens, as this server computes it.

    Raises ApiError: state_incompatible where the ids are not kept, and what a request can get.
    """
    try:
        stored = await asyncio.to_thread(route.codec.decode_any, payload)
    except SnapshotError as error:
        log.error("named states: %s cannot be read again: %s", ident, error)
        raise incompatible(ident, route.served.spec.id, route) from None
    if stored.token_ids is None:
        raise incompatible(ident, route.served.spec.id, route)
    count, begun = len(stored.token_ids), time.monotonic()
    log.info("named states: %s is of an earlier version: reading its %d tokens again", ident, count)
    ids = await asyncio.to_thread(stored.token_ids.tolist)
    with route.lease():
        state = await _state_after(Task(ids, READS_ONLY, keeps_state=True, tenant=tenant), route)
    log.info("named states: %s is up to date after %.1f s", ident, time.monotonic() - begun)
    return state


async def _state_after(task: Task, route: Route) -> bytes:
    try:
        stream = route.submit(task)
    except QueueFullError as error:
        raise queue_full(error) from None
    except NotReadyError as error:
        raise not_ready(error) from None
    try:
        output = await stream.get()
    finally:
        stream.abort()
    if output.finish_reason in ("error", "abort"):
        raise ApiError(output.error_code, f"The engine failed: {output.error or 'aborted'}")
    return output.state
