"""Spans for a collector of OpenTelemetry, by OTLP over gRPC. Imported only where `traces.endpoint` is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FLUSH_TIMEOUT_MS = 2_000
_PROPAGATOR = TraceContextTextMapPropagator()


class OpenTelemetrySpan:
    """One span and the stage of it that is open."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._inside = trace.set_span_in_context(span, Context())
        self._stage: trace.Span | None = None

    @property
    def context(self) -> str:
        """See Span."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._inside)
        return carrier.get("traceparent", "")

    def stage(self, name: str) -> None:
        """See Span."""
        self.end_stage()
        self._stage = self._tracer.start_span(name, self._inside)

    def event(self, name: str) -> None:
        """See Span."""
        self._span.add_event(name)

    def end_stage(self) -> None:
        """Ends the stage that is open."""
        if self._stage is not None:
            self._stage.end()
            self._stage = None


class OpenTelemetryTracer:
    """Sends spans in batches in a thread of its own. A collector that is away costs the spans and nothing else."""

    def __init__(self, endpoint: str, service: str) -> None:
        self._provider = TracerProvider(resource=Resource({"service.name": service}))
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("hermes")

    @contextmanager
    def span(
        self, name: str, *, parent: str = "", attributes: Mapping[str, str] | None = None
    ) -> Iterator[OpenTelemetrySpan]:
        """See Tracer."""
        above = _PROPAGATOR.extract({"traceparent": parent}, Context())
        span = self._tracer.start_span(name, above, attributes=attributes)
        opened = OpenTelemetrySpan(self._tracer, span)
        try:
            yield opened
        except BaseException as error:
            # The class alone: a message may name a camera's URL or quote a question.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            opened.end_stage()
            span.end()

    def close(self) -> None:
        """See Tracer."""
        self._provider.force_flush(_FLUSH_TIMEOUT_MS)
        self._provider.shutdown()
