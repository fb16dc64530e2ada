"""Which addresses only programs on this machine can reach, or come from."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether it is a loopback address, also one that IPv6 maps; False for what is no address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, of a socket for both
    return bool((mapped or address).is_loopback)
