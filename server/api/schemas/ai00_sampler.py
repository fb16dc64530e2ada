"""Ai00's `sampler`: an object of one of three kinds, with defaults of its own."""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from server.api.schemas.whole_numbers import as_whole


class _Sampler(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Penalties(_Sampler):
    top_k: int = Field(128, ge=0)
    temperature: float = Field(1.0, ge=0, le=10)
    presence_penalty: float = Field(0.3, ge=-2, le=2)
    frequency_penalty: float = Field(0.3, ge=-2, le=2)
    penalty_decay: float = Field(0.99654026, ge=0, le=1)

    def fields(self) -> dict[str, Any]:
        """As fields of a request."""
        names = ("top_k", "temperature", "presence_penalty", "frequency_penalty", "penalty_decay")
        return {name: getattr(self, name) for name in names}


class Nucleus(_Penalties):
    """The usual one."""

    type: Literal["Nucleus"]
    top_p: float = Field(0.5, ge=0, le=1)

    def fields(self) -> dict[str, Any]:
        """As fields of a request."""
        return super().fields() | {"top_p": self.top_p}


class Typical(_Penalties):
    """Locally typical sampling; a tau over 1 keeps all tokens."""

    type: Literal["Typical"]
    tau: float = Field(0.5, gt=0)

    def fields(self) -> dict[str, Any]:
        """As fields of a request."""
        return super().fields() | {"typical_p": min(self.tau, 1.0), "top_p": 1.0}


class Mirostat(_Sampler):
    """Mirostat 2."""

    type: Literal["Mirostat"]
    tau: float = Field(3.0, ge=0, le=100)
    rate: float = Field(
        0.1, ge=0, le=1, validation_alias=AliasChoices("rate", "Rate", "learning_rate")
    )

    def fields(self) -> dict[str, Any]:
        """As fields of a request."""
        return {"mirostat": 2, "mirostat_tau": self.tau, "mirostat_eta": self.rate}


Sampler = Nucleus | Typical | Mirostat


def with_whole_numbers(value: Any) -> Any:
    """An object whose top_k may be written as 128.0, and whose type may be left out."""
    if not isinstance(value, dict):
        return value
    fields = {"type": "Nucleus"} | {name: each for name, each in value.items() if each is not None}
    return fields | {name: as_whole(fields[name]) for name in ("top_k",) if name in fields}
