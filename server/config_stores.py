"""The settings of what is kept for clients: named states, responses, files and batches."""

from pydantic import Field

from server.config_models import Section


class StatesSettings(Section):
    """Named states: what clients keep under an id. Nothing of it is ever evicted."""

    directory: str = Field("", description="Where they are kept; empty: in the user's data folder.")
    limit_bytes: int = Field(
        4 << 30, ge=0, description="Most bytes of all clients' states; 0: no named states."
    )
    tenant_limit_bytes: int = Field(
        0,
        ge=0,
        description="Most bytes of one client's states; 0: if there are several API keys, no more "
        "than it leaves to others.",
    )
    ttl_seconds: int = Field(
        604_800, ge=0, le=10**9, description="They expire so long after their last use; 0: never."
    )


class ResponsesSettings(Section):
    """/v1/responses and /v1/conversations: what is kept of them."""

    directory: str = Field("", description="Where they are kept; empty: in the user's data folder.")
    database_url: str = Field(
        "",
        pattern="^$|^postgres(ql)?://",
        description="PostgreSQL instead: postgresql://USER@HOST/DATABASE; needs psycopg.",
    )
    limit: int = Field(
        100_000,
        ge=1,
        description="Most responses and conversations that are kept; beyond it the oldest go, of "
        "the client that has most.",
    )
    limit_bytes: int = Field(
        1 << 30, ge=0, description="Most bytes of all clients' items; 0: nothing is kept."
    )
    tenant_limit: int = Field(
        0,
        ge=0,
        description="Most responses and conversations of one client; beyond it its oldest go. 0: "
        "no limit of its own.",
    )
    tenant_limit_bytes: int = Field(
        0, ge=0, description="Most bytes of one client's items; 0: no limit of its own."
    )
    max_context_bytes: int = Field(
        16 << 20,
        ge=1,
        description="Most bytes of kept items that one request may read: its history and what it "
        "refers to.",
    )
    ttl_seconds: int = Field(
        2_592_000, ge=0, le=10**9, description="They go so long after their last turn; 0: never."
    )
    max_background: int = Field(
        64, ge=0, le=10_000, description="Responses that run in the background at once."
    )


class BatchesSettings(Section):
    """/v1/files and /v1/batches: what clients upload, and what is computed of it."""

    directory: str = Field("", description="Where they are kept; empty: in the user's data folder.")
    limit_bytes: int = Field(
        4 << 30,
        ge=0,
        description="Most bytes of all clients' files and answers; 0: no files and no batches.",
    )
    max_file_bytes: int = Field(
        200 << 20,
        ge=1,
        description="Larger files are refused with 413, in place of http.max_body_bytes.",
    )
    max_files: int = Field(
        10_000, ge=1, description="Most files of all clients, and most batches that are kept."
    )
    tenant_limit_bytes: int = Field(
        0,
        ge=0,
        description="With so many bytes of files a client can upload no more; 0: if there are "
        "several API keys, no more than it leaves to others.",
    )
    tenant_max_files: int = Field(
        0,
        ge=0,
        description="Most files of one client, and most batches; 0: if there are several API keys, "
        "no more than it leaves to others.",
    )
    max_uploads: int = Field(
        16,
        ge=1,
        le=1000,
        description="Files that are uploaded at once; beyond it 429. If there are several API "
        "keys, a client takes no more than it leaves to others.",
    )
    max_lines: int = Field(50_000, ge=1, description="Most requests of a batch.")
    ttl_seconds: int = Field(
        2_592_000,
        ge=0,
        le=10**9,
        description="Files expire so long after they are made if they do not say, batches after "
        "their end; 0: never.",
    )
    concurrency: int = Field(
        0,
        ge=0,
        le=1024,
        description="Lines of all batches that are computed at once; 0: a quarter of "
        "engine.max_batch.",
    )
