"""Paths that clients get slightly wrong: served where it is plain what is meant, else named.

A base URL has a `/v1` too many or too few, or ends in a slash. The path is put right before
anything looks at it, so that keys, hosts, origins, roles and limits are those of the path that is
served.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from urllib.parse import quote

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

_V1 = "/v1"
_AI00 = "/api/oai"
_LONGEST = 2048
"""Characters of a path that may be put right: anybody can send long ones."""
_COMPARED = 100
"""Characters of a path that is compared with all others."""
_SAME = {
    "/reranking": "/v1/rerank",
    "/v1/reranking": "/v1/rerank",
    "/engines/text-embedding-ada-002/embeddings": "/v1/embeddings",
    "/v1/engines/text-embedding-ada-002/embeddings": "/v1/embeddings",
}
"""Other names of llama.cpp's server and RWKV-Runner."""
_ELSEWHERE = {
    "/api/oai/embeds": "/v1/embeddings",
    "/api/oai/v1/embeds": "/v1/embeddings",
    "/api/models/info": "/v1/models",
    "/api/models/list": "/v1/models",
    "/switch-model": "/v1/admin/models/load",
    "/status": "/health",
    "/slots": "/metrics",
    "/lora-adapters": "/v1/models",
    "/generate": "/v1/completions",
    "/generate_stream": "/v1/completions",
    "/api/v0/models": "/v1/models",
    "/v1/chat": "/v1/chat/completions",
    "/chat": "/v1/chat/completions",
    "/v1/complete": "/v1/messages",
    "/v1/api/chat": "/api/chat",
    "/v1/api/generate": "/api/generate",
    "/v1/api/tags": "/api/tags",
}
"""What other servers have, and what does the same here."""


class Paths:
    """The paths of an app."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        known = [route for route in routes if isinstance(route, Route)]
        self._static = frozenset(route.path for route in known if "{" not in route.path)
        self._patterns = [route.path_regex for route in known if "{" in route.path]

    def meant(self, path: str) -> str:
        """The path that is served for one; the same if it is one, or if none is meant."""
        if path in self._static or len(path) > _LONGEST:
            return path
        plain = _without_slashes(path)
        plain = _SAME.get(plain, plain)
        # Also where what follows could be an id: no id is empty.
        if plain in self._static or self._is_known(path):
            return plain if plain in self._static else path
        return next(filter(self._is_known, _spellings(plain)), path)

    def nearest(self, path: str) -> str:
        """The path most like one that is not served; "" if none is like it."""
        plain = _without_slashes(path[:_COMPARED])
        if plain in _ELSEWHERE:
            return _ELSEWHERE[plain]
        # In an order of their own: of equals the first is taken.
        return next(iter(get_close_matches(plain, sorted(self._static), 1, 0.75)), "")

    def _is_known(self, path: str) -> bool:
        return path in self._static or any(each.match(path) for each in self._patterns)


class PathAliases:
    """Puts the path of a request right. The outermost: nothing has looked at it before."""

    def __init__(self, app: ASGIApp, paths: Paths) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            meant = self._paths.meant(scope["path"])
            if meant != scope["path"]:
                # In place: whoever has the scope from the connection sees what is in it, too.
                scope["path"] = meant
                scope["raw_path"] = quote(meant).encode()
        await self._app(scope, receive, send)


def _without_slashes(path: str) -> str:
    """Without slashes at the end, and with one at the beginning."""
    return "/" + path.strip("/")


def _spellings(path: str) -> Iterator[str]:
    """A path with one /v1 and the rest of it."""
    yield path
    rest = path.removeprefix(_AI00) if path.startswith(f"{_AI00}/") else path
    while rest.startswith(f"{_V1}/"):
        rest = rest[len(_V1) :]
    yield _V1 + rest
