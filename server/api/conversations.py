"""What is kept of responses and conversations, as the routes use it: off the event loop, errors of
the table.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from server.api.errors import ApiError
from server.config import SettingsError
from server.config_stores import ResponsesSettings
from server.data_folder import NoDataFolderError, data_folder
from server.stores.responses.conversation_store import ConversationStore
from server.stores.responses.database import Database, open_postgres, open_sqlite
from server.stores.responses.records import (
    UNFINISHED,
    Context,
    Item,
    StoreDamagedError,
    StoreFullError,
    StoreUnavailableError,
    TooMuchTextError,
    UnknownConversationError,
    UnknownItemError,
    UnknownResponseError,
)
from server.stores.responses.response_store import ResponseStore
from server.stores.responses.room import Bounds
from server.stores.responses.threads import Threads

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
"""Of their own: a database that hangs must not hold up what else is done in threads."""
_ID_SHOWN = 80
_DISABLED = "This server keeps no responses: responses.limit_bytes is 0"
_UNAVAILABLE = (
    "The server cannot keep or read responses now; its log says more. Requests with store = false "
    "need none"
)
_UNKNOWN = {
    UnknownResponseError: ("response_not_found", "Response"),
    UnknownConversationError: ("conversation_not_found", "Conversation"),
    UnknownItemError: ("item_not_found", "Item"),
}


class Conversations:
    """The stores of all tenants, or the reason why there are none.

    call() raises ApiError: responses_disabled, responses_unavailable, responses_full,
    context_length_exceeded, and response_not_found, conversation_not_found or item_not_found for
    what this tenant has not.
    """

    def __init__(
        self, database: Database | None, settings: ResponsesSettings, absence: ApiError | None
    ) -> None:
        """`absence` is why there is no database."""
        self._database = database
        self._absence = absence
        self._executor = ThreadPoolExecutor(_THREADS, "responses")
        self._stores: tuple[ResponseStore, ConversationStore] | None = None
        if database is not None:
            threads = Threads(database, _bounds(settings))
            self._stores = ResponseStore(threads), ConversationStore(threads)

    @property
    def available(self) -> bool:
        """Whether anything is kept."""
        return self._stores is not None

    @property
    def responses(self) -> ResponseStore:
        """For call(). Raises ApiError when nothing is kept."""
        return self._both()[0]

    @property
    def conversations(self) -> ConversationStore:
        """For call(). Raises ApiError when nothing is kept."""
        return self._both()[1]

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of a store gives."""
        loop, work = asyncio.get_running_loop(), partial(method, *args, **kwargs)
        try:
            return await loop.run_in_executor(self._executor, work)
        except tuple(_UNKNOWN) as error:
            code, noun = _UNKNOWN[type(error)]
            ident = f" with id {str(error)[:_ID_SHOWN]!r}" if error.args else ""
            raise ApiError(code, f"{noun}{ident} not found.", "id") from None
        except TooMuchTextError as error:
            raise ApiError("context_length_exceeded", str(error), "input") from None
        except StoreFullError as error:
            raise ApiError("responses_full", f"There is no room for this: {error}") from None
        except StoreUnavailableError as error:
            log.error("responses: %s", error)
            raise ApiError("responses_unavailable", _UNAVAILABLE) from None

    async def context(self, tenant: str, previous: str | None, conversation: str | None) -> Context:
        """What a request goes on from. Raises ApiError like call()."""
        if conversation is not None:
            try:
                return await self.call(self.conversations.context, tenant, conversation)
            except ApiError as error:
                raise error.renamed(lambda _: "conversation") from None
        if previous is None:
            return Context()
        name = "previous_response_id"
        try:
            context, status = await self.call(self.responses.context, tenant, previous)
        except ApiError as error:
            if error.code != "response_not_found":
                raise error.renamed(lambda _: name) from None
            message = f"Previous response with id {previous[:_ID_SHOWN]!r} not found."
            raise ApiError("previous_response_not_found", message, name) from None
        if status in UNFINISHED:
            message = f"Response {previous!r} is {status}: it has to be finished first"
            raise ApiError("invalid_value", message, name)
        return context

    async def find_items(self, tenant: str, idents: Sequence[str]) -> dict[str, Item]:
        """Items by their ids. Raises ApiError like call()."""
        if not idents:
            return {}
        found = await self.call(self.responses.find_items, tenant, idents)
        for ident in idents:
            if ident not in found:
                message = f"Item with id {ident[:_ID_SHOWN]!r} not found."
                raise ApiError("item_not_found", message, "input")
        return found

    def close(self) -> None:
        """Wait for what is being done, and close the database. Nothing may be called later."""
        self._executor.shutdown()
        if self._database is not None:
            self._database.close()

    def _both(self) -> tuple[ResponseStore, ConversationStore]:
        if self._stores is None:
            assert self._absence is not None
            raise self._absence
        return self._stores


def _bounds(settings: ResponsesSettings) -> Bounds:
    return Bounds(
        limit=settings.limit,
        limit_bytes=settings.limit_bytes,
        ttl_seconds=settings.ttl_seconds,
        tenant_limit=settings.tenant_limit,
        tenant_limit_bytes=settings.tenant_limit_bytes,
        context_bytes=settings.max_context_bytes,
    )


def open_conversations(settings: ResponsesSettings) -> Conversations:
    """Open the database, or warn that it cannot be had. Raises SettingsError for a damaged one."""
    if not settings.limit_bytes:
        return Conversations(None, settings, ApiError("responses_disabled", _DISABLED))
    if settings.database_url:
        return _open_postgres(settings)
    try:
        database = open_sqlite(data_folder(settings.directory))
        database.open()
    except StoreDamagedError as error:
        raise SettingsError(str(error)) from None
    except (NoDataFolderError, StoreUnavailableError) as error:
        log.warning("no responses are kept: %s; set responses.directory", error)
        return Conversations(None, settings, ApiError("responses_unavailable", _UNAVAILABLE))
    return Conversations(database, settings, None)


def _open_postgres(settings: ResponsesSettings) -> Conversations:
    try:
        database = open_postgres(settings.database_url)
    except StoreUnavailableError as error:
        raise SettingsError(f"responses.database_url: {error}") from None
    try:
        database.open()
    except StoreDamagedError as error:
        raise SettingsError(str(error)) from None
    except StoreUnavailableError as error:
        log.warning("responses cannot be kept for now: %s", error)
    return Conversations(database, settings, None)
