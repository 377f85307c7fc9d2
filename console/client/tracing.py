"""What the client needs of a tracer, e.g. of OpenTelemetry: a span of each question, whose context travels with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class CallSpan(Protocol):
    """A span that is open."""

    @property
    def context(self) -> str:
        """Its W3C `traceparent`."""
        ...


class CallTracer(Protocol):
    """Makes spans."""

    def span(self, name: str) -> AbstractContextManager[CallSpan]:
        """A span of the block."""
        ...


class _NoSpan:
    context = ""


class NoCallTracer:
    """Records nothing."""

    def span(self, name: str) -> AbstractContextManager[CallSpan]:
        """See CallTracer."""
        return nullcontext(_NoSpan())
