"""Named states as the routes use them: one tenant's, off the event loop, errors of the table."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from server.api.errors import ApiError
from server.api.places import Places
from server.api.schemas.states import ListQuery, StateOptions
from server.api.state_renewal import incompatible, read_again
from server.config import SettingsError
from server.config_stores import StatesSettings
from server.data_folder import NoDataFolderError, data_folder
from server.registry.manager import Route
from server.state_cache.encoding import SnapshotCodec
from server.stores.states.records import (
    DiskFullError,
    NamedState,
    NewState,
    StatesDamagedError,
    StatesFullError,
    StatesUnavailableError,
    UnknownStateError,
)
from server.stores.states.store import NamedStates

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_ID_SHOWN = 80
_AT_ONCE = 16
"""States whose bytes are on the way from or to clients."""
_DISABLED = "This server keeps no named states: states.limit_bytes is 0"
_UNAVAILABLE = "The server cannot keep or read named states; its log says more"


@dataclass(frozen=True)
class StateContent:
    """An encoded state, and what is known of it."""

    model: str
    fingerprint: str
    tokens: int
    has_logits: bool
    payload: bytes

    @classmethod
    def of(
        cls, route: Route, tokens: int, payload: bytes, has_logits: bool = True
    ) -> "StateContent":
        """A state of the route's model."""
        return cls(route.served.spec.id, route.codec.fingerprint, tokens, has_logits, payload)


class States:
    """The named states of all tenants, or the reason why there are none.

    Every method raises ApiError: states_disabled, states_unavailable, states_full, and
    state_not_found for what this tenant does not have; `param` is the field that named it.
    """

    def __init__(
        self, store: NamedStates | None, ttl_seconds: int, absence: ApiError | None = None
    ) -> None:
        """`ttl_seconds` is for states that do not say; `absence` is why there is no store."""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._absence = absence
        self._transfers = Places(_AT_ONCE, "imports, exports and copies of states")
        self._renewals: dict[tuple[str, str], asyncio.Task[StateContent]] = {}
        """By tenant and id: those that are being made anew."""

    def share(self, is_shared: Callable[[], bool]) -> None:
        """How to know whether there are several keys: then none takes more than it leaves."""
        self._transfers.is_shared = is_shared
        if self._store is not None:
            self._store.is_shared = is_shared

    def transfer(self, tenant: str) -> AbstractContextManager[None]:
        """While a state's bytes are in memory for a client. Raises queue_full."""
        return self._transfers.taken(tenant)

    async def check_room(self, tenant: str, route: Route) -> None:
        """Raise states_full before a state of this model is computed in vain."""
        await self._call("", "", NamedStates.check_room, tenant, route.codec.largest_bytes)

    async def add(self, tenant: str, content: StateContent, options: StateOptions) -> NamedState:
        """Keep a state."""
        ttl = self._ttl_seconds if options.ttl_seconds is None else options.ttl_seconds
        new = NewState(
            model=content.model,
            fingerprint=content.fingerprint,
            tokens=content.tokens,
            has_logits=content.has_logits,
            name=options.name or "",
            ttl_seconds=ttl,
            pinned=bool(options.pinned),
        )
        return await self._call("", "", NamedStates.add, tenant, new, content.payload)

    async def get(self, tenant: str, ident: str) -> NamedState:
        """What is known of a state."""
        return await self._call(ident, "id", NamedStates.get, tenant, ident)

    async def read(self, tenant: str, ident: str, param: str = "id") -> StateContent:
        """The state itself; that is a use of it."""
        state, payload = await self._call(ident, param, NamedStates.read, tenant, ident)
        return StateContent(state.model, state.fingerprint, state.tokens, state.has_logits, payload)

    async def read_for(self, tenant: str, ident: str, route: Route) -> StateContent:
        """The state that a request goes on from. Raises state_incompatible as well.

        One of the same model by an earlier version of the server is made anew first, and kept.
        """
        state = await self._call(ident, "state_id", NamedStates.get, tenant, ident)
        if state.fingerprint == route.codec.fingerprint:
            return await self.read(tenant, ident, "state_id")
        if not is_usable(state, route.served.spec.id, route.codec):
            raise incompatible(ident, state.model, route)
        key = tenant, ident
        if key not in self._renewals:  # once for all who ask meanwhile, whoever leaves
            renewal = asyncio.create_task(self._renew(tenant, ident, route))
            self._renewals[key] = renewal
            renewal.add_done_callback(lambda done: self._end_renewal(key, done))
        return await asyncio.shield(self._renewals[key])

    async def _renew(self, tenant: str, ident: str, route: Route) -> StateContent:
        with self.transfer(tenant):
            old = await self.read(tenant, ident, "state_id")
            payload = await read_again(ident, old.payload, tenant, route)
            new = StateContent.of(route, old.tokens, payload)
            changes: dict[str, str | int] = {
                "fingerprint": new.fingerprint, "has_logits": True, "bytes": len(payload)
            }  # fmt: skip
            update = partial(NamedStates.update, payload=payload)
            await self._call(ident, "state_id", update, tenant, ident, changes)
            return new

    def _end_renewal(self, key: tuple[str, str], done: "asyncio.Task[StateContent]") -> None:
        del self._renewals[key]
        if not done.cancelled():
            done.exception()  # who waited got it; perhaps nobody did

    async def list(self, tenant: str, query: ListQuery) -> tuple[list[NamedState], bool]:
        """A page of states, and whether there are more."""
        newest_first = query.order == "desc"
        page = partial(NamedStates.list, after=query.after, newest_first=newest_first)
        page = partial(page, model=query.model, name=query.name)
        return await self._call(query.after, "after", page, tenant, query.limit)

    async def update(self, tenant: str, ident: str, options: StateOptions) -> NamedState:
        """Change what the options name."""
        changes = options.model_dump(exclude_none=True)
        return await self._call(ident, "id", NamedStates.update, tenant, ident, changes)

    async def remove(self, tenant: str, ident: str) -> None:
        """Delete a state."""
        await self._call(ident, "id", NamedStates.remove, tenant, ident)

    def close(self) -> None:
        """Close the file."""
        for renewal in self._renewals.values():
            renewal.cancel()
        if self._store is not None:
            self._store.close()

    async def _call(
        self,
        ident: str,
        param: str,
        method: Callable[Concatenate[NamedStates, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if self._store is None:
            assert self._absence is not None
            raise self._absence
        try:
            return await asyncio.to_thread(method, self._store, *args, **kwargs)
        except UnknownStateError:
            message = f"The state {ident[:_ID_SHOWN]!r} does not exist"
            raise ApiError("state_not_found", message, param) from None
        except DiskFullError as error:
            log.error("named states: %s", error)
            message = "There is no room for this state: the disk is full"
            raise ApiError("states_full", message) from None
        except StatesFullError as error:
            raise ApiError("states_full", f"There is no room for this state: {error}") from None
        except StatesUnavailableError as error:
            log.error("named states: %s", error)
            raise ApiError("states_unavailable", _UNAVAILABLE) from None


def is_usable(state: NamedState, model: str, codec: SnapshotCodec) -> bool:
    """Whether this model can go on from a state, perhaps after reading its tokens again."""
    if state.fingerprint == codec.fingerprint:
        return True
    return state.model == model and codec.differs_in_arithmetic(state.fingerprint)


def open_states(settings: StatesSettings) -> States:
    """Open the store, or warn that it cannot be had. Raises SettingsError for a damaged one."""
    if not settings.limit_bytes:
        return States(None, settings.ttl_seconds, ApiError("states_disabled", _DISABLED))
    try:
        store = NamedStates(
            data_folder(settings.directory),
            settings.limit_bytes,
            tenant_limit_bytes=settings.tenant_limit_bytes,
        )
    except StatesDamagedError as error:
        raise SettingsError(str(error)) from None
    except (NoDataFolderError, StatesUnavailableError, StatesFullError) as error:
        log.warning("there are no named states: %s; set states.directory", error)
        return States(None, settings.ttl_seconds, ApiError("states_unavailable", _UNAVAILABLE))
    return States(store, settings.ttl_seconds)
