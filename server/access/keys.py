"""The API keys that the server knows, from the environment and a file that is read again."""

import hmac
import logging
from collections.abc import Callable

from server.access.caller import ANYBODY, Caller
from server.access.keys_file import digest_of, read_keys_file
from server.config import SettingsError
from server.config_http import HttpSettings
from server.home_folder import expanded

log = logging.getLogger(__name__)


class Keys:
    """Tells whose a key is. Once there are keys, only keys are let in, whatever the file says."""

    def __init__(self, settings: HttpSettings) -> None:
        """Raises SettingsError: one line that names what is wrong with the keys."""
        self._path = expanded(settings.keys_file) if settings.keys_file else None
        self._from_environment = _from_environment(settings)
        self.required = bool(self._path or self._from_environment)
        """Whether requests need a key."""
        self._callers = self._read()
        self._watchers: list[Callable[[], None]] = []
        if self.required and not self._callers:
            log.warning("%s: has no keys: all requests are refused", self._path)

    def owner_of(self, key: bytes) -> Caller | None:
        """Whose the key is. Takes the same time for all keys, right or wrong."""
        digest = digest_of(key)
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def caller_named(self, name: str) -> Caller | None:
        """The owner of the key of this name, while there is one."""
        return next((each for each in self._callers.values() if each.name == name), None)

    def caller_of_tenant(self, tenant: str) -> Caller | None:
        """For whom work of a tenant is done that goes on without a request; anybody without keys.

        None when the key of its name was taken back.
        """
        if not self.required:
            return ANYBODY
        return next((each for each in self._callers.values() if each.tenant == tenant), None)

    @property
    def are_several(self) -> bool:
        """Whether there are others to leave something to."""
        return len(self._callers) > 1

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when the keys were read again."""
        self._watchers.append(changed)

    def reread(self) -> None:
        """Read the file again. What is wrong with it is logged, and the keys stay as they are."""
        if self._path is None:
            return
        try:
            self._callers = self._read()
        except SettingsError as error:
            log.error("the keys stay as they are: %s", error)
        else:
            log.info("keys that are known: %d", len(self._callers))
            for changed in self._watchers:
                changed()

    def _read(self) -> dict[bytes, Caller]:
        callers = dict(self._from_environment)
        names = {caller.name for caller in callers.values()}
        for digest, caller in (read_keys_file(self._path) if self._path else {}).items():
            if caller.name in names or digest in callers:
                raise SettingsError(
                    f"{self._path}: {caller.name}: its name or key is that of "
                    "RWKV_SERVER_HTTP_API_KEY or RWKV_SERVER_HTTP_ADMIN_KEY"
                )
            callers[digest] = caller
        return callers


def _from_environment(settings: HttpSettings) -> dict[bytes, Caller]:
    callers = {}
    if key := settings.api_key.get_secret_value():
        callers[digest_of(key.encode())] = Caller("default", "user")
    if key := settings.admin_key.get_secret_value():
        if digest_of(key.encode()) in callers:
            raise SettingsError(
                "environment: RWKV_SERVER_HTTP_API_KEY and RWKV_SERVER_HTTP_ADMIN_KEY are the same"
            )
        callers[digest_of(key.encode())] = Caller("admin", "admin")
    return callers
