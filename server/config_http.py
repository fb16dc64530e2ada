"""The section of the settings about HTTP."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from server.config_models import Section


def _check_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("should be printable ASCII without blanks")
    return key


# Not part of dumps: workers get the settings as JSON, and have no use for it.
PlainKey = Annotated[SecretStr, AfterValidator(_check_key), Field(exclude=True)]
"""A key in plain text, from the environment only; empty: none."""


Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s]+)$")]
"""Of web pages, as browsers send it: scheme, host, and port if it is not the usual one."""

HostName = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?)$")]
"""A name without a port, `*.` and a name for all below it, or `*`."""


class HttpSettings(Section):
    """Where the server listens and how it treats connections."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(
        16 << 20,
        ge=1024,
        description="Maximum request body size in bytes, after decompression; larger bodies get "
        "413.",
    )
    max_body_values: int = Field(
        100_000,
        ge=1024,
        description="Maximum number of strings, keys, objects, lists and fractions in a JSON "
        "body; more get 413. Integers, such as token ids, are limited separately.",
    )
    max_header_bytes: int = Field(
        64 << 10,
        ge=1024,
        le=1 << 20,
        description="Maximum bytes of request line, headers, trailers and chunk framing of a "
        "request; more get 431.",
    )
    max_connections: int = Field(
        1024,
        ge=1,
        le=100_000,
        description="Maximum open connections. Above this, the connection that has been idle the "
        "longest is closed; if none is idle, the new one gets 503.",
    )
    keep_alive_seconds: float = Field(
        75.0,
        gt=0,
        description="Seconds to keep an idle connection open after its last response. Keep it "
        "longer than the idle timeout of clients and proxies, or they may send on a "
        "connection that is being closed.",
    )
    ping_seconds: float = Field(
        15.0,
        gt=0,
        description="Seconds of silence after which a stream is sent a comment to keep the "
        "connection alive.",
    )
    shutdown_seconds: float = Field(
        30.0,
        ge=0,
        description="Seconds that running requests may take to finish when the server stops or a "
        "model is unloaded.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="Seconds between SIGTERM and the moment the server stops accepting requests; "
        "/ready returns 503 meanwhile.",
    )
    slow_reader_seconds: float = Field(
        60.0,
        gt=0,
        description="Close a connection whose client has not read pending output for this many "
        "seconds.",
    )
    slow_sender_seconds: float = Field(
        60.0,
        gt=0,
        description="Seconds to wait for request headers before closing the connection, and for "
        "more of a request body before answering 408.",
    )
    body_bytes_per_second: int = Field(
        4096,
        ge=0,
        description="Minimum average rate of a request body, after an allowance of "
        "slow_sender_seconds; slower bodies get 408. 0 accepts any rate.",
    )
    keys_file: str = Field(
        "",
        description="TOML file with hashes of API keys; `rwkv-server keys new` adds a key to it.",
    )
    allow_no_keys: bool = Field(
        False,
        description="Listen on addresses that other machines can reach even when no API keys are "
        "configured.",
    )
    admin: Literal["on", "off"] = Field(
        "on",
        description="Serve /v1/admin, /v1/cache and /metrics to keys of role admin or, without "
        "keys, to programs on this machine.",
    )
    allowed_hosts: list[HostName] = Field(
        [],
        description="Host names, besides localhost and http.host, that clients may use when there "
        'are no API keys, such as "rwkv.lan" or "*.example.org"; other names get 421. '
        '"*" allows all.',
    )
    cors_origins: list[Origin] = Field(
        [],
        description="Origins whose web pages may call the API from a browser, such as "
        '"http://localhost:3000"; "*" allows all.',
    )
    api_key: PlainKey = SecretStr("")
    admin_key: PlainKey = SecretStr("")
