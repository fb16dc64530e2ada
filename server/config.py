"""The settings tree; config_sources.py reads it."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server.config_http import HttpSettings
from server.config_models import ModelSettings, NamedModelSettings, Section
from server.config_stores import BatchesSettings, ResponsesSettings, StatesSettings
from server.model_names import ModelName

ENV_PREFIX = "RWKV_SERVER_"

LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(ValueError):
    """One line that names the setting and what is wrong with it."""


class EngineSettings(Section):
    """The worker processes and their engines."""

    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="Number of worker processes per model, which share its weights; 0 is one per "
        "NUMA node.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads per worker; 0 divides the usable cores among a model's workers.",
    )
    max_batch: int = Field(
        32, ge=1, le=1024, description="Maximum number of requests that a worker decodes together."
    )
    step_tokens: int = Field(
        256,
        ge=1,
        le=8192,
        description="Maximum number of tokens computed in a step: decode first, then chunks of "
        "prefill.",
    )
    step_seconds: float = Field(
        0.005,
        ge=0,
        description="Target seconds of a step that mixes decode with prefill; at least 2.5 times "
        "the duration of a step without prefill.",
    )
    events_per_second: int = Field(
        400,
        ge=0,
        description="Maximum token events per second of a worker, over all streams; above this, "
        "tokens of several steps are merged into one event. 0 sends every token "
        "separately.",
    )
    cache_dir: str = Field(
        "",
        description="Folder for compiled kernels and packed weights; empty uses the user's cache "
        "folder.",
    )
    weights_cache_bytes: int = Field(
        64 << 30, ge=0, description="Maximum bytes of packed weights kept on disk; 0 keeps none."
    )
    weights_check: Literal["changed", "full"] = Field(
        "changed",
        description="When startup verifies all bytes of packed weights: `changed`, if the file "
        "changed since the last verification, else only a sample; `full`, always.",
    )
    hang_seconds: float = Field(
        60.0,
        gt=0,
        description="Restart a worker that has sent nothing for this many seconds; must be longer "
        "than any step.",
    )


class CacheSettings(Section):
    """States that are kept so that prompts need not be read again."""

    memory_bytes: int = Field(
        -1,
        ge=-1,
        description="Maximum bytes of cached states in memory per model, over all its workers; 0 "
        "disables the cache, -1 uses a tenth of the free memory.",
    )
    directory: str = Field(
        "", description="Folder for cached states on disk; empty uses the user's cache folder."
    )
    disk_bytes: int = Field(
        -1,
        ge=-1,
        description="Maximum bytes of cached states on disk, over all models; 0 disables the disk "
        "tier, -1 uses a tenth of the free disk, at most 8 GiB.",
    )
    disk_format: Literal["float32", "float16"] = Field(
        "float32",
        description="Number format of cached states on disk and in Redis; float16 halves their "
        "size and rounds, so a cache hit may differ from a cold run.",
    )
    shared_url: str = Field(
        "",
        pattern="^$|^(redis|rediss|unix)://",
        description="Redis or Valkey shared by several servers, redis://HOST:PORT/DB; empty "
        "disables the shared tier.",
    )
    shared_ttl_seconds: int = Field(
        86_400,
        ge=1,
        le=1 << 30,
        description="Seconds after its last use at which a state in Redis or Valkey expires.",
    )
    read_ahead: bool = Field(
        True, description="After a reply, prefill it in the form the next chat turn will have."
    )


class LimitsSettings(Section):
    """What a client may ask for."""

    max_requests: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Maximum number of running and waiting requests; more get 429 queue_full.",
    )
    max_prompt_tokens: int = Field(
        0,
        ge=0,
        description="Maximum prompt length in tokens; 0 is no limit (RWKV's memory does not grow "
        "with the prompt).",
    )
    max_output_tokens: int = Field(65_536, ge=1, description="Maximum max_tokens of a request.")
    default_output_tokens: int = Field(
        4096, ge=1, description="Value of max_tokens for chat requests that omit it."
    )
    max_choices: int = Field(
        16, ge=1, le=128, description="Maximum n times the number of prompts of a request."
    )
    max_queued_tokens: int = Field(
        1_000_000,
        ge=1,
        description="Maximum prompt tokens waiting for prefill; more get 429 queue_full.",
    )
    queue_seconds: float = Field(
        3600.0,
        ge=0,
        description="Maximum seconds a request may wait for its first token; 0 is no limit.",
    )
    total_seconds: float = Field(
        0.0,
        ge=0,
        description="Maximum seconds from a request's admission to its end; 0 is no limit.",
    )


class SamplingSettings(Section):
    """What a request gets that does not say otherwise."""

    temperature: float = Field(
        1.0,
        ge=0,
        le=10,
        description="Temperature of requests that omit it; 0 picks the most likely token.",
    )
    top_p: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Value of top_p for requests that omit it. The default follows the RWKV "
        "community's convention and was not measured.",
    )


class LoggingSettings(Section):
    """What is written to standard error."""

    level: LogLevel = Field("info", description="Minimum log level.")
    format: Literal["human", "json"] = Field(
        "human", description="Log format: human-readable lines, or one JSON object per line."
    )
    prompts: bool = Field(
        False,
        description="Log the beginning of each prompt and completion; off by default for privacy.",
    )


class TracingSettings(Section):
    """Traces of requests for OpenTelemetry; needs the extra `otel`."""

    endpoint: str = Field(
        "",
        pattern="^$|^https?://.",
        description="OTLP/HTTP collector, such as http://127.0.0.1:4318; empty disables traces. "
        "OTEL_* environment variables apply as well.",
    )


class Settings(BaseSettings):
    """All settings. Sections and their fields are the keys of config/server.toml."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        # RWKV_SERVER_SECTION_KEY: the first "_" after the prefix ends the section.
        env_nested_delimiter="_",
        env_nested_max_split=1,
    )

    http: HttpSettings = HttpSettings()
    model: ModelSettings = ModelSettings()
    models: dict[ModelName, NamedModelSettings] = Field(
        default_factory=dict, description="Further models by id."
    )
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    states: StatesSettings = StatesSettings()
    responses: ResponsesSettings = ResponsesSettings()
    batches: BatchesSettings = BatchesSettings()
    limits: LimitsSettings = LimitsSettings()
    sampling: SamplingSettings = SamplingSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def batch_lines(self) -> int:
        """Lines of batches that are computed at once; 0 without batches."""
        if not self.batches.limit_bytes:
            return 0
        return self.batches.concurrency or max(1, self.engine.max_batch // 4)

    @property
    def batch_requests(self) -> int:
        """Most requests of batches to the engines, beside limits.max_requests.

        A line with the most choices there may be fits beside others with one each.
        """
        lines = self.batch_lines
        return lines + self.limits.max_choices - 1 if lines else 0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: load_settings() reads the other sources, to say which one is wrong."""
        return (init_settings,)
