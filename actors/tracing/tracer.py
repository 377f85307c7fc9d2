"""The seam of tracing. Without an endpoint there is no tracer: nothing is loaded, nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from actors.config.observability import TracesConfig
from actors.errors import ConfigError


class Span(Protocol):
    """A span that is open. It never holds what a user wrote, a URL, or the message of an error."""

    @property
    def context(self) -> str:
        """Its W3C `traceparent`, for spans below it in other processes; empty if nothing is recorded."""
        ...

    def stage(self, name: str) -> None:
        """Ends the stage before, if there is one, and begins the next: a span below this one."""
        ...

    def event(self, name: str) -> None:
        """Marks a moment."""
        ...


class Tracer(Protocol):
    """Makes spans: a NoTracer, or an OpenTelemetryTracer."""

    def span(
        self, name: str, *, parent: str = "", attributes: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Span]:
        """A span of the block. parent: the `traceparent` of the span above it, empty for none."""
        ...

    def close(self) -> None:
        """Sends what is left, for at most some seconds."""
        ...


class NoSpan:
    """Records nothing."""

    context = ""

    def stage(self, name: str) -> None:
        """Nothing."""

    def event(self, name: str) -> None:
        """Nothing."""


class NoTracer:
    """Records nothing."""

    @contextmanager
    def span(self, name: str, *, parent: str = "", attributes: Mapping[str, str] | None = None) -> Iterator[Span]:
        """See Tracer."""
        yield NoSpan()

    def close(self) -> None:
        """Nothing."""


def tracer_of(traces: TracesConfig | None, service: str) -> Tracer:
    """The tracer of one process. Raises ConfigError if OpenTelemetry is not installed."""
    if traces is None:
        return NoTracer()
    try:
        from actors.tracing.open_telemetry import OpenTelemetryTracer
    except ImportError as error:
        raise ConfigError(
            f"traces.endpoint needs OpenTelemetry, which is not installed ({error.name}): pip install "
            "'hermes-cameras[traces]'"
        ) from error
    return OpenTelemetryTracer(traces.endpoint, service)
