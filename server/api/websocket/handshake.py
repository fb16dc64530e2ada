"""From a GET request to a WebSocket: what the client must offer, and what it is answered."""

import base64
import binascii
import hashlib

from starlette.datastructures import Headers
from starlette.types import Scope

from server.api.call import call_of
from server.api.errors import ApiError

OFFERED = "x-unused-upgrade"
"""What request_framing.py makes of `Upgrade`, which HTTP itself has no use for here."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_KEY_BYTES = 16


def offers_websocket(scope: Scope) -> bool:
    """Whether a request asks for the protocol."""
    return "websocket" in _tokens(Headers(scope=scope), OFFERED)


def accepted(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers of the answer that agrees. Raises ApiError for an offer that is not one."""
    headers = Headers(scope=scope)
    is_whole = "upgrade" in _tokens(headers, "connection") and scope["http_version"] == "1.1"
    if not is_whole or call_of(scope).switch is None:
        raise _refused("Connection: Upgrade over HTTP/1.1, without a proxy that takes it away")
    if headers.get("sec-websocket-version") != _VERSION:
        raise _refused(f"Sec-WebSocket-Version: {_VERSION}")
    if "content-length" in headers or "transfer-encoding" in headers:
        raise _refused("no body")
    key = headers.get("sec-websocket-key", "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise _refused(f"a Sec-WebSocket-Key of {_KEY_BYTES} bytes in base64")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", base64.b64encode(digest)),
    ]


def _tokens(headers: Headers, name: str) -> list[str]:
    values = headers.getlist(name)
    return [token.strip().lower() for value in values for token in value.split(",")]


def _refused(needed: str) -> ApiError:
    message = f"A WebSocket needs {needed}; or POST the request, with stream = true for its events"
    error = ApiError("upgrade_required", message)
    error.headers = {"upgrade": "websocket", "sec-websocket-version": _VERSION}
    return error
