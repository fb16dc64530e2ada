"""Whose request it is: nobody sees the states of another tenant, kept or cached."""

import hashlib
import json

from fastapi import Request


def tenant_of(request: Request) -> str:
    """A digest of the request's bearer token in hexadecimal; "" for all requests without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return ""
    return hashlib.blake2b(token.strip().encode(), digest_size=16).hexdigest()


def cache_salt_of(tenant: str, cache_salt: str) -> str:
    """A salt of its own for each pair, without a line break."""
    # The tenant has no quote, so the first one ends it. JSON escapes line breaks of all kinds.
    return f"{tenant}{json.dumps(cache_salt)}" if tenant or cache_salt else ""
