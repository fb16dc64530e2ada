"""Who may operate the server. There are no API keys yet, so only programs on this machine."""

import ipaddress

from fastapi import Request

from server.api.errors import ApiError

# A proxy adds the first two, and a client may write anything into them; a browser adds the third.
_SENT_ON_BEHALF = ("x-forwarded-for", "forwarded", "origin")


async def check_is_local(request: Request) -> None:
    """Refuse other machines, and what proxies and browsers on this one send for somebody else."""
    is_local = request.client is not None and _is_loopback(request.client.host)
    if not is_local or any(name in request.headers for name in _SENT_ON_BEHALF):
        raise ApiError("admin_refused", "Only programs on the server's own machine may do this")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, of a socket for both
    return bool((mapped or address).is_loopback)
