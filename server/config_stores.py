"""The settings of what is kept for clients: named states, responses, files and batches."""

from pydantic import Field

from server.config_models import Section


class StatesSettings(Section):
    """Named states: what clients keep under an id. Nothing of it is ever evicted."""

    directory: str = Field(
        "", description="Folder for named states; empty uses the user's data folder."
    )
    limit_bytes: int = Field(
        4 << 30,
        ge=0,
        description="Maximum bytes of named states of all clients; 0 disables named states.",
    )
    tenant_limit_bytes: int = Field(
        0,
        ge=0,
        description="Maximum bytes of named states per client; 0 means that, with several API "
        "keys, a client uses no more than it leaves free for others.",
    )
    ttl_seconds: int = Field(
        604_800,
        ge=0,
        le=10**9,
        description="Seconds after its last use at which a named state expires, unless it has a "
        "TTL of its own; 0 is never.",
    )


class ResponsesSettings(Section):
    """/v1/responses and /v1/conversations: what is kept of them."""

    directory: str = Field(
        "",
        description="Folder for stored responses and conversations; empty uses the user's data "
        "folder.",
    )
    database_url: str = Field(
        "",
        pattern="^$|^postgres(ql)?://",
        description="PostgreSQL database to use instead of the folder, "
        "postgresql://USER@HOST/DATABASE; needs psycopg.",
    )
    limit: int = Field(
        100_000,
        ge=1,
        description="Maximum number of stored responses and conversations; above this, the oldest "
        "ones of the client with the most are deleted.",
    )
    limit_bytes: int = Field(
        1 << 30, ge=0, description="Maximum bytes of stored items of all clients; 0 stores nothing."
    )
    tenant_limit: int = Field(
        0,
        ge=0,
        description="Maximum number of stored responses and conversations per client; above this, "
        "the client's oldest ones are deleted. 0 is no separate limit.",
    )
    tenant_limit_bytes: int = Field(
        0, ge=0, description="Maximum bytes of stored items per client; 0 is no separate limit."
    )
    max_context_bytes: int = Field(
        16 << 20,
        ge=1,
        description="Maximum bytes of stored items that one request may read, including its "
        "history and references.",
    )
    ttl_seconds: int = Field(
        2_592_000,
        ge=0,
        le=10**9,
        description="Seconds after its last turn at which a response or conversation is deleted; "
        "0 is never.",
    )
    max_background: int = Field(
        64, ge=0, le=10_000, description="Maximum number of responses running in the background."
    )


class BatchesSettings(Section):
    """/v1/files and /v1/batches: what clients upload, and what is computed of it."""

    directory: str = Field(
        "", description="Folder for files and batches; empty uses the user's data folder."
    )
    limit_bytes: int = Field(
        4 << 30,
        ge=0,
        description="Maximum bytes of files and batch results of all clients; 0 disables files "
        "and batches.",
    )
    max_file_bytes: int = Field(
        200 << 20,
        ge=1,
        description="Maximum size of an uploaded file in bytes, instead of http.max_body_bytes; "
        "larger files get 413.",
    )
    max_files: int = Field(
        10_000, ge=1, description="Maximum number of files of all clients, and of batches."
    )
    tenant_limit_bytes: int = Field(
        0,
        ge=0,
        description="Maximum bytes of files per client; 0 means that, with several API keys, a "
        "client uses no more than it leaves free for others.",
    )
    tenant_max_files: int = Field(
        0,
        ge=0,
        description="Maximum number of files per client, and of batches; 0 means that, with "
        "several API keys, a client uses no more than it leaves free for others.",
    )
    max_uploads: int = Field(
        16,
        ge=1,
        le=1000,
        description="Maximum number of concurrent uploads; more get 429. With several API keys, a "
        "client uses no more of them than it leaves free for others.",
    )
    max_lines: int = Field(50_000, ge=1, description="Maximum number of requests in a batch.")
    ttl_seconds: int = Field(
        2_592_000,
        ge=0,
        le=10**9,
        description="Seconds after which a file without an expiry of its own, or a batch that has "
        "ended, expires; 0 is never.",
    )
    concurrency: int = Field(
        0,
        ge=0,
        le=1024,
        description="Maximum number of batch lines computed at once, over all batches; 0 is a "
        "quarter of engine.max_batch.",
    )
