"""Servers without keys: what keeps web pages from using them through somebody's browser.

A page can have a name that resolves to this machine (DNS rebinding): for the browser, the server is
then part of the page's site. So the host that is asked for must be one that no page can own. And
browsers send many requests to other sites without asking first, such as forms and uploads. So what
a page of another origin makes a browser send is refused unless http.cors_origins names it.

With keys neither is checked: no browser adds a key by itself.
"""

import ipaddress
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.keys import Keys
from server.api.errors import ApiError, error_response
from server.config_http import HttpSettings

_HOST = re.compile(r"(\[[0-9a-f:.]+(?:%[0-9a-z._%~-]+)?\]|[0-9a-z_.-]+)(?::([0-9]{0,5}))?", re.I)
_PORTS = {"http": "80", "https": "443"}
_PAGES = ("/",)
"""What people may follow a link to from another site; browsers show it to nobody else."""

_SHOWN = 100
"""Characters of what was sent that an error repeats."""

Refuse = Callable[[ApiError], ASGIApp]


class HostCheck:
    """Answers 421 to a host that a web page could own.

    A request without a host is not from a browser. `refuse` makes what logs and answers.
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings, keys: Keys, refuse: Refuse) -> None:
        self._app = app
        self._keys = keys
        self._refuse = refuse
        names = [_plain(name) for name in (settings.host, *settings.allowed_hosts)]
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._keys.required:
            hosts = _values(scope, b"host")
            if hosts and not (len(hosts) == 1 and self._is_allowed(hosts[0])):
                error = ApiError("host_refused", _host_message(hosts))
                await self._refuse(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        if "*" in self._names:
            return True
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = _plain(found[1])
        if name in self._names or name == "localhost":
            return True
        # Nobody can own a name below localhost: browsers resolve it themselves.
        return name.endswith((".localhost", *self._suffixes)) or _is_address(name)


class OriginCheck:
    """Answers 403 to what pages of other origins send, before anything of its body is read."""

    def __init__(self, app: ASGIApp, settings: HttpSettings, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._keys.required and self._is_foreign(scope):
            await error_response(_origin_error(scope))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        if "*" in self._origins:
            return False
        origins, sites = _values(scope, b"origin"), _values(scope, b"sec-fetch-site")
        if len(origins) == 1 and origins[0] in self._origins:
            return False
        if any(not _is_own(origin, scope) for origin in origins):
            return True
        is_foreign = any(site not in ("same-origin", "none") for site in sites)
        return is_foreign and not _is_link(scope)


def _is_own(origin: str, scope: Scope) -> bool:
    """Whether it is that of the host that was asked: the page came from this server."""
    scheme, _, host = origin.partition("://")
    hosts = _values(scope, b"host")
    if scheme != scope["scheme"] or len(hosts) != 1:
        return False
    return _with_port(host, scheme) == _with_port(hosts[0], scheme)


def _is_link(scope: Scope) -> bool:
    """Whether somebody follows a link: the browser shows the answer to them, not to the page."""
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] in _PAGES
        and not _values(scope, b"origin")
        and _values(scope, b"sec-fetch-mode") == ["navigate"]
        and _values(scope, b"sec-fetch-dest") == ["document"]
    )


def _with_port(host: str, scheme: str) -> tuple[str, str] | None:
    found = _HOST.fullmatch(host)
    return found and (_plain(found[1]), found[2] or _PORTS.get(scheme, ""))


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]


def _host_message(hosts: list[str]) -> str:
    got = ascii(hosts[0][:_SHOWN]) if len(hosts) == 1 else f"{len(hosts)} of them"
    return (
        "Host: must be an IP address, localhost, http.host or in http.allowed_hosts while there "
        f"are no API keys (got {got}); add the name to http.allowed_hosts, or configure keys"
    )


def _origin_error(scope: Scope) -> ApiError:
    origins = _values(scope, b"origin")
    page = f"of origin {origins[0][:_SHOWN]!a}" if origins else "of other sites"
    return ApiError(
        "origin_refused",
        f"Web pages {page} may not call this server while there are no API keys; add the origin "
        "to http.cors_origins, or configure keys",
    )
