"""Which requests are of programs on this machine, and which of others by way of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.local_program import is_on_behalf, why_not_local

HOST = {"host": "127.0.0.1:8000"}
PROGRAMS = {
    "curl": ("host", "user-agent", "accept", "content-type", "content-length", "expect"),
    "httpx": ("host", "user-agent", "accept", "accept-encoding", "connection", "authorization"),
    # fetch() of Node.js and Deno says so, though it is in no browser.
    "node": ("host", "connection", "accept", "accept-language", "sec-fetch-mode", "user-agent"),
    "openai": ("x-stainless-lang", "x-stainless-os", "x-stainless-retry-count", "x-api-key"),
    "anthropic": ("anthropic-version", "anthropic-beta", "x-stainless-read-timeout"),
    "prometheus": ("x-prometheus-scrape-timeout-seconds", "accept-encoding", "user-agent"),
    "traced": ("traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "x-request-id"),
    "ours": ("x-session-id", "openai-organization", "idempotency-key", "te", "pragma"),
}
PROXIES = [
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"),
    *("x-forwarded-prefix", "x-forwarded-client-cert", "x-forwarded-server", "x-forwarded"),
    *("forwarded", "forwarded-for", "via", "x-real-ip", "cf-connecting-ip", "cf-ray", "cf-visitor"),
    *("cf-ipcountry", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "fly-client-ip"),
    *("fly-forwarded-port", "fastly-client-ip", "x-original-forwarded-for", "x-original-url"),
    *("x-original-uri", "x-original-host", "x-envoy-external-address", "x-envoy-attempt-count"),
    *("x-amzn-trace-id", "x-amz-cf-id", "x-azure-clientip", "x-azure-fdid", "x-arr-log-id"),
    *("x-appengine-country", "x-appengine-user-ip", "x-cloud-trace-context", "cdn-loop"),
    *("x-vercel-forwarded-for", "x-nf-client-connection-ip", "x-remote-ip", "x-remote-addr"),
    *("remote-user", "x-remote-user", "x-auth-request-email", "proxy-connection", "x-proxyuser-ip"),
    *("proxy-authorization", "x-nginx-proxy", "wl-proxy-client-ip", "proxy-client-ip", "client-ip"),
    *("x-originating-ip", "x-forwarder-for", "x-bluecoat-via", "x-host", "x-scheme"),
    *("x-url-scheme", "front-end-https", "x-varnish", "tailscale-user-login", "x-ssl-cert"),
    *("ssl-client-verify", "x-client-cert", "x-forwardedfor", "x-sec-ip", "X_FORWARDED_FOR"),
]
BROWSERS = [
    *("origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user"),
    *("sec-ch-ua", "sec-ch-ua-platform", "sec-gpc", "sec-purpose", "sec-websocket-key", "dnt"),
    *("upgrade-insecure-requests", "service-worker", "x-requested-with", "ping-from"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_let_in(program):
    headers = HOST | dict.fromkeys(PROGRAMS[program], "x") | HOST
    assert why_not_local("127.0.0.1", "1.1", headers) == ""


@pytest.mark.parametrize("name", [*PROXIES, *BROWSERS])
def test_what_proxies_and_browsers_add_is_told(name):
    why = why_not_local("127.0.0.1", "1.1", HOST | {name: "127.0.0.1"})
    assert repr(name) in why


@given(
    st.sampled_from(["forwarded", "via", "ip", "proxy", "original", "addr"]),
    st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3),
    st.integers(0, 3),
    st.sampled_from("-_"),
    st.booleans(),
)
def test_a_word_is_enough_wherever_it_is(word, others, at, hyphen, upper):
    name = hyphen.join([*others[:at], word, *others[at:]])
    assert is_on_behalf(name.upper() if upper else name)


@given(st.from_regex(r"sec-[a-z-]{0,12}", fullmatch=True))
def test_all_that_only_browsers_may_set_is_theirs(name):
    assert is_on_behalf(name) is (name != "sec-fetch-mode")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:8000",
            "LOCALHOST:1",
            "localhost.",
            "a.localhost:80",
            "127.0.0.1",
        ),
        *("127.9.9.9:80", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:8000"),
    ],
)
def test_names_of_this_machine(host):
    assert why_not_local("::1", "1.1", {"host": host}) == ""


@pytest.mark.parametrize(
    "host",
    [
        *("", "example.org", "rebound.example:8000", "10.0.0.1:8000", "localhost.example.org"),
        *(
            "notlocalhost",
            "127.0.0.1.example.org",
            "0.0.0.0",
            "[::]:80",
            "127.0.0.1@x",
            "localhost/",
        ),
        *("localhost:80:80", "2130706433", "0x7f000001", "127.1", "[::1"),
    ],
)
def test_other_names_are_not(host):
    assert "Host" in why_not_local("127.0.0.1", "1.1", {"host": host})


def test_there_is_one_host():
    class Twice(dict):
        def __iter__(self):
            return iter(("host", "host"))

    assert "Host" in why_not_local("127.0.0.1", "1.1", {})
    assert "Host" in why_not_local("127.0.0.1", "1.1", Twice(HOST))


@pytest.mark.parametrize("peer", ["", "10.0.0.1", "::ffff:10.0.0.1", "169.254.0.1", "nonsense"])
def test_other_machines_are_not(peer):
    assert "another" in why_not_local(peer, "1.1", HOST)


def test_a_proxy_that_adds_nothing_speaks_the_old_protocol():
    assert "HTTP/1.0" in why_not_local("127.0.0.1", "1.0", HOST)
