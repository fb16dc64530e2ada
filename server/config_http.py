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
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(
        16 << 20,
        ge=1024,
        description="Larger request bodies are refused with 413; of compressed ones what they "
        "unpack to counts.",
    )
    max_body_values: int = Field(
        100_000,
        ge=1024,
        description="JSON bodies with more strings, keys, objects, lists and fractions are refused "
        "with 413; other numbers, such as token ids, count apart.",
    )
    max_header_bytes: int = Field(
        64 << 10,
        ge=1024,
        le=1 << 20,
        description="Refuse a request with 431 if its request line, headers, trailers and chunk "
        "framing are larger.",
    )
    max_connections: int = Field(
        1024,
        ge=1,
        le=100_000,
        description="Connections at once; beyond it the one that has been idle for the longest is "
        "closed, or the new one is refused with 503.",
    )
    keep_alive_seconds: float = Field(
        75.0,
        gt=0,
        description="An idle connection is closed so long after its last answer; longer than "
        "clients and proxies keep theirs, or they will send on one that is just being closed.",
    )
    ping_seconds: float = Field(
        15.0, gt=0, description="A stream that has been silent for so long gets a comment."
    )
    shutdown_seconds: float = Field(
        30.0,
        ge=0,
        description="When the server stops, or a model is unloaded, running streams have so long.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="On SIGTERM, /ready is red for so long before the server stops accepting.",
    )
    slow_reader_seconds: float = Field(
        60.0,
        gt=0,
        description="A connection whose client has so long not read what waits for it is cut.",
    )
    slow_sender_seconds: float = Field(
        60.0,
        gt=0,
        description="A connection whose client has so long not sent the headers of a request is "
        "cut; one that sends nothing more of a body for so long gets 408.",
    )
    body_bytes_per_second: int = Field(
        4096,
        ge=0,
        description="Refuse a request body with 408 if it takes slow_sender_seconds longer than at "
        "this rate; 0 accepts any rate.",
    )
    keys_file: str = Field(
        "", description="A TOML file with the hashes of API keys; `rwkv-server keys new` adds one."
    )
    allow_no_keys: bool = Field(
        False, description="Listen also on addresses that others reach when there are no keys."
    )
    admin: Literal["on", "off"] = Field(
        "on",
        description="/v1/admin, /v1/cache and /metrics: for keys of role admin; without keys, for "
        "programs on this machine.",
    )
    allowed_hosts: list[HostName] = Field(
        [],
        description="Names besides localhost and http.host by which clients may reach a server "
        'without keys, such as "rwkv.lan" or "*.example.org"; others get 421; "*": all.',
    )
    cors_origins: list[Origin] = Field(
        [],
        description="Origins whose web pages may call the API from a browser, such as "
        '"http://localhost:3000"; "*": all.',
    )
    api_key: PlainKey = SecretStr("")
    admin_key: PlainKey = SecretStr("")
