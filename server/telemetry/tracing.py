"""Traces of requests: what is known of one, and whether anybody wants it.

What writes them imports OpenTelemetry's SDK, and is itself imported only if there is an endpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol

from starlette.types import Scope

from server.config import SettingsError, TracingSettings

_WRITER = "server.api.spans"


class Tracer(Protocol):
    """Takes in requests that are over."""

    def trace(self, scope: Scope, request_id: str, status: int, started: float) -> None:
        """A request that came at `started`, by perf_counter(), and ends now; never waits."""

    def close(self) -> None:
        """Send what is left, for a short time."""


@contextmanager
def tracing(settings: TracingSettings) -> Iterator[Tracer | None]:
    """A tracer, closed at the end; None without an endpoint.

    Raises SettingsError where packages are missing, or the environment asks for what is not there.
    """
    if not settings.endpoint:
        yield None
        return
    tracer = _load(settings.endpoint)
    try:
        yield tracer
    finally:
        tracer.close()


def _load(endpoint: str) -> Tracer:
    try:
        tracer: Tracer = import_module(_WRITER).SpanWriter(endpoint)
    except ImportError as error:
        raise SettingsError(
            f"tracing.endpoint: it needs more packages, pip install 'rwkv-server[otel]': {error}"
        ) from None
    except ValueError as error:  # such as a propagator of OTEL_PROPAGATORS that nobody has
        raise SettingsError(f"environment: OTEL_…: {error}") from None
    return tracer
