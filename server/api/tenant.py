"""Whose request it is: nobody sees the states of another tenant, kept or cached.

With keys a tenant is the name of a verified key; without, whoever sends the same bearer token.
"""

import hashlib
import json

from fastapi import Request

from server.api.access import caller_of
from server.api.call import Owner, call_of

LAST_PRIORITY = 1000
"""Of what nobody waits for: the lines of batches."""


def owner_of(request: Request) -> Owner:
    """Whoever made the request, or had this process make it."""
    if (owner := call_of(request.scope).owner) is not None:
        return owner
    caller = caller_of(request)
    return Owner(caller.tenant or _digest_of_token(request), caller.priority)


def _digest_of_token(request: Request) -> str:
    """In hexadecimal; "" for all requests without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.headers.get("x-api-key", "")
    if not token.strip():
        return ""
    return hashlib.blake2b(token.strip().encode(), digest_size=16).hexdigest()


def cache_salt_of(tenant: str, cache_salt: str) -> str:
    """A salt of its own for each pair, without a line break."""
    # The tenant has no quote, so the first one ends it. JSON escapes line breaks of all kinds.
    return f"{tenant}{json.dumps(cache_salt)}" if tenant or cache_salt else ""
