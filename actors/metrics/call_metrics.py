"""Counts the calls of one server, and times its answers as clients get them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from pipeline.answers import AnswerEvent, Done, Token

_OK, _INTERNAL = "OK", "INTERNAL"
# Without this each counter has a second series with the time of its first sample.
disable_created_metrics()  # type: ignore[no-untyped-call]
_CALL_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FIRST_TOKEN_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_TOKEN_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


@dataclass(slots=True)
class CallOutcome:
    """How a call ended: its gRPC code, and the reason of a refusal, empty without one."""

    code: str = _OK
    reason: str = ""


class CallMetrics:
    """One per server: `registry` has its metrics. One event loop owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._calls = Counter(
            "hermes_calls",
            "Calls that have ended, by method and gRPC code.",
            ["method", "code"],
            registry=self.registry,
        )
        self._running = Gauge("hermes_calls_running", "Calls that run now.", registry=self.registry)
        self._refusals = Counter(
            "hermes_refusals",
            "Calls that ended with an error, by its reason; docs/api.md has all reasons.",
            ["reason"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "hermes_call_duration_seconds",
            "From the beginning of a call to its end; of Ask: the whole answer.",
            ["method"],
            buckets=_CALL_BOUNDS_S,
            registry=self.registry,
        )
        self._first_tokens = Histogram(
            "hermes_time_to_first_token_seconds",
            "From the arrival of a question at the router to the first token of its answer.",
            buckets=_FIRST_TOKEN_BOUNDS_S,
            registry=self.registry,
        )
        self._token_times = Histogram(
            "hermes_time_per_token_seconds",
            "Mean time between two tokens of an answer after the first.",
            buckets=_TOKEN_BOUNDS_S,
            registry=self.registry,
        )
        self._question_tokens = Counter(
            "hermes_question_tokens", "Tokens of questions that were answered.", registry=self.registry
        )
        self._answer_tokens = Counter("hermes_answer_tokens", "Tokens of whole answers.", registry=self.registry)

    def expect(self, methods: Iterable[str], reasons: Iterable[str]) -> None:
        """Begins at 0 what alerts look at: Prometheus sees no increase in the first sample of a series."""
        for method in methods:
            for code in (_OK, _INTERNAL):
                self._calls.labels(method, code)
        for reason in reasons:
            self._refusals.labels(reason)

    @contextmanager
    def call(self, method: str) -> Iterator[CallOutcome]:
        """Counts one call during the block. Whoever ends it with an error notes that in the outcome."""
        began_s, outcome = self._clock(), CallOutcome()
        self._running.inc()
        try:
            yield outcome
        except BaseException:
            if outcome.code == _OK:  # the client hung up
                outcome.code = "CANCELLED"
            raise
        finally:
            self._running.dec()
            self._durations.labels(method).observe(self._clock() - began_s)
            self.count(method, outcome)

    def count(self, method: str, outcome: CallOutcome) -> None:
        """Counts a call that has ended."""
        self._calls.labels(method, outcome.code).inc()
        if outcome.reason:
            self._refusals.labels(outcome.reason).inc()

    def answer(self) -> Callable[[AnswerEvent], None]:
        """What takes every event of one answer, which is asked for now."""
        asked_s = self._clock()
        first_token_s: float | None = None

        def observe(event: AnswerEvent) -> None:
            nonlocal first_token_s
            if isinstance(event, Token) and first_token_s is None:
                first_token_s = self._clock()
                self._first_tokens.observe(first_token_s - asked_s)
            elif isinstance(event, Done):
                self._question_tokens.inc(event.question_tokens)
                self._answer_tokens.inc(event.answer_tokens)
                if first_token_s is not None and event.answer_tokens > 1:
                    self._token_times.observe((self._clock() - first_token_s) / (event.answer_tokens - 1))

        return observe
