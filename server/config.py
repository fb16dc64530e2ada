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
        description="Worker processes of a model, which share its weights; 0: one for each NUMA "
        "node.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads per worker; 0 shares the usable cores among a model's workers.",
    )
    max_batch: int = Field(
        32, ge=1, le=1024, description="Requests that a worker computes together."
    )
    step_tokens: int = Field(
        256, ge=1, le=8192, description="Tokens per step: decode first, then chunks of prompts."
    )
    step_seconds: float = Field(
        0.005,
        ge=0,
        description="A step with prompts beside requests that decode may take so long, or 2.5 "
        "times a step without prompts if that is longer.",
    )
    events_per_second: int = Field(
        400,
        ge=0,
        description="Of all streams of a worker: beyond it, tokens of several steps travel "
        "together; 0: each by itself.",
    )
    cache_dir: str = Field(
        "",
        description="For compiled kernels and packed weights; empty: in the user's cache folder.",
    )
    weights_cache_bytes: int = Field(
        64 << 30, ge=0, description="Most bytes of packed weights that are kept; 0 keeps none."
    )
    weights_check: Literal["changed", "full"] = Field(
        "changed",
        description="When a start reads all packed weights to check them: `changed` since they "
        "were last read, else a sample of them is; `full`: always.",
    )
    hang_seconds: float = Field(
        60.0,
        gt=0,
        description="A worker that has said nothing for so long, longer than any step, is started "
        "again.",
    )


class CacheSettings(Section):
    """States that are kept so that prompts need not be read again."""

    memory_bytes: int = Field(
        -1,
        ge=-1,
        description="Of a model, for all its workers; 0: no cache, -1: a tenth of what is free.",
    )
    directory: str = Field(
        "", description="Where states are kept on disk; empty: in the user's cache folder."
    )
    disk_bytes: int = Field(
        -1, ge=-1, description="Of all models; 0: none, -1: a tenth of the free disk, up to 8 GiB."
    )
    disk_format: Literal["float32", "float16"] = Field(
        "float32", description="How it is stored; float16 rounds: hits may differ from cold runs."
    )
    shared_url: str = Field(
        "",
        pattern="^$|^(redis|rediss|unix)://",
        description="Redis or Valkey that servers share, redis://HOST:PORT/DB; empty: none.",
    )
    shared_ttl_seconds: int = Field(
        86_400, ge=1, le=1 << 30, description="States there are kept so long after their last use."
    )
    read_ahead: bool = Field(
        True, description="After an answer, read it as the next turn of a chat will have it."
    )


class LimitsSettings(Section):
    """What a client may ask for."""

    max_requests: int = Field(
        256, ge=1, le=100_000, description="Running and waiting requests; beyond it 429 queue_full."
    )
    max_prompt_tokens: int = Field(
        0, ge=0, description="Longest prompt; 0 is no cap (RWKV has no context limit)."
    )
    max_output_tokens: int = Field(65_536, ge=1, description="Largest max_tokens that is accepted.")
    default_output_tokens: int = Field(
        4096, ge=1, description="For chat requests that do not set max_tokens."
    )
    max_choices: int = Field(16, ge=1, le=128, description="Largest n times prompts of a request.")
    max_queued_tokens: int = Field(
        1_000_000,
        ge=1,
        description="Tokens of prompts that are not read yet; beyond it 429 queue_full.",
    )
    queue_seconds: float = Field(
        3600.0, ge=0, description="Longest wait for a request's first token; 0 is no cap."
    )
    total_seconds: float = Field(
        0.0, ge=0, description="Longest time from a request's admission to its end; 0 is no cap."
    )


class SamplingSettings(Section):
    """What a request gets that does not say otherwise."""

    temperature: float = Field(
        1.0, ge=0, le=10, description="For requests without one; 0 takes the most likely token."
    )
    top_p: float = Field(
        0.5,
        gt=0,
        le=1,
        description="For requests without one; a choice after custom, not measured.",
    )


class LoggingSettings(Section):
    """What is written to standard error."""

    level: LogLevel = Field("info", description="The least severe level that is logged.")
    format: Literal["human", "json"] = Field(
        "human", description="Lines for people, or one JSON object a line."
    )
    prompts: bool = Field(
        False, description="Log the beginning of each prompt and answer, which is off for privacy."
    )


class TracingSettings(Section):
    """Traces of requests for OpenTelemetry; needs the extra `otel`."""

    endpoint: str = Field(
        "",
        pattern="^$|^https?://.",
        description="An OTLP/HTTP collector, as http://127.0.0.1:4318; empty: no traces. Then "
        "OTEL_* variables hold too.",
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
