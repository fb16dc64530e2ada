"""Whether a request is of a program on this machine itself, not of a proxy's or browser's client.

A proxy or a browser on this machine also connects from a loopback address, for whoever uses it.
What it adds gives it away: each rule is about a kind of header rather than a list of products.
"""

from collections.abc import Mapping

from server.access.loopback import is_loopback

_PROXIES_WORDS = frozenset(
    "forwarded forwarder proxy proxied via originating original originated ip ips ipaddress addr "
    "address cdn envoy edge akamai ingress".split()
)
"""A header with one of these among the words of its name says whom or what it was passed on for."""
_PROXIES_BEGINNINGS = (
    *("cf-", "fly-", "fastly-", "akamai-", "tailscale-", "x-amzn-", "x-amz-cf-", "x-azure-"),
    *("x-arr-", "x-appengine-", "x-cloud-trace-", "x-vercel-", "x-nf-", "x-remote-", "remote-"),
    *("x-real-", "x-client-", "x-cluster-", "x-auth-request-", "x-varnish", "x-forward"),
    *("x-authentik-", "x-pomerium-", "x-ms-client-", "x-goog-authenticated-", "x-serverless-"),
    *("x-ssl-", "ssl-client-", "x-tls-", "x-url-scheme", "x-scheme", "x-host", "front-end-https"),
)
_BROWSERS = frozenset(
    "origin referer cookie dnt purpose x-moz x-purpose ping-from ping-to upgrade-insecure-requests "
    "service-worker x-requested-with".split()
)
_PROGRAMS = "sec-fetch-mode"
"""Of what begins with `sec-`, fetch() of Node.js sends this one. Browsers never send it alone."""


def why_not_local(peer: str, http_version: str, headers: Mapping[str, str]) -> str:
    """What gives a request away as somebody else's, in words; empty for a program's own.

    The names of headers are in lower case. `peer` is the address that connected, empty if unknown.
    """
    if not is_loopback(peer):
        return "it came from another one"
    if http_version == "1.0":  # as some proxies speak that add no header unless they are told to
        return "it is of HTTP/1.0, as proxies send"
    if list(headers).count("host") != 1 or not _is_own_name(headers["host"]):
        return "its Host must be localhost or a loopback address"
    for name in headers:
        if is_on_behalf(name):
            return f"it has the header {name[:80]!r}, as proxies or browsers send"
    return ""


def is_on_behalf(name: str) -> bool:
    """Whether proxies or browsers send a header of this name, and programs do not."""
    name = name.lower().replace("_", "-")
    if name in _BROWSERS or (name.startswith("sec-") and name != _PROGRAMS):
        return True
    return name.startswith(_PROXIES_BEGINNINGS) or not _PROXIES_WORDS.isdisjoint(name.split("-"))


def _is_own_name(host: str) -> bool:
    """Whether a Host header, with or without a port, can only mean this machine."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        name = host
    name = name.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    return is_loopback(name) or name == "localhost" or name.endswith(".localhost")
