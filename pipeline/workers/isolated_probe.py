"""Probes a URL in a worker of its own: a stream that crashes or takes over its decoder finds nothing else there."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pipeline.cameras import SourceReason
from pipeline.network import urls
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.network.url_redaction import redact, scrub
from pipeline.network.urls import SimUrl
from pipeline.sources import probe
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.probe import ProbeResult
from pipeline.workers.errors import WorkerError, WorkerUnreachable
from pipeline.workers.messages import Alive, Logged, ProbeUrl, UrlProbed
from pipeline.workers.worker_log import WorkerLog
from pipeline.workers.worker_process import WorkerProcess

_Value = TypeVar("_Value")
START_S = 30.0  # until its worker has started: many start at once on a busy machine


def max_duration_s(config: IngestConfig) -> float:
    """How long probe_url blocks at most."""
    return START_S + _max_test_s(config)


def _max_test_s(config: IngestConfig) -> float:
    return probe.max_duration_s(config) + 5.0


def probe_url(url: str, config: IngestConfig, tls: TlsRules = USUAL_RULES) -> ProbeResult:
    """What the URL gives; DECODER_CRASHED if it ends or holds up its worker. Blocks. Raises InvalidCamera, OSError."""
    if isinstance(urls.with_tls(urls.parse(url), tls), SimUrl):
        return probe.probe_url(url, config, tls)
    label, worker = redact(url), _ProbingWorker(config)
    result, problem = None, ""
    try:
        result = worker.probe(ProbeUrl(url=url, config=config, tls=tls), _max_test_s(config))
    except WorkerError as error:
        problem = str(error)
    finally:
        cause = worker.process.end() or problem
    if result is not None:
        return replace(result, url=label)
    what = (
        "it ended or held up the process that tested it"
        if worker.has_started
        else "the process for its test does not start"
    )
    reason = SourceReason.DECODER_CRASHED if worker.has_started else SourceReason.UNKNOWN
    return ProbeResult(url=label, reason=reason, detail=f"{label}: {what} ({scrub(cause, url)})")


class _ProbingWorker:
    """A worker and what it has said until now."""

    def __init__(self, config: IngestConfig) -> None:
        self.process = WorkerProcess(config.readable_paths)
        self.has_started = False
        self._result: ProbeResult | None = None
        self._log = WorkerLog()

    def probe(self, order: ProbeUrl, timeout_s: float) -> ProbeResult:
        """What the worker finds within `timeout_s` of its start. Raises WorkerError."""
        self._wait_for(lambda: self.has_started or None, START_S)
        self.process.send(order)
        return self._wait_for(lambda: self._result, timeout_s)

    def _wait_for(self, value: Callable[[], _Value | None], timeout_s: float) -> _Value:
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self.process.fileno(), select.POLLIN | (0 if self.process.flush() else select.POLLOUT))
            poll.poll(1000 * left_s)
            self._read()
            if (found := value()) is not None:
                return found
        raise WorkerUnreachable(f"no answer for {timeout_s:g} s")

    def _read(self) -> None:
        for report, _ in self.process.receive():
            match report:
                case Alive():
                    self.has_started = True
                case Logged():
                    self._log.add(report, time.monotonic())
                case UrlProbed():
                    self._result = report.result
