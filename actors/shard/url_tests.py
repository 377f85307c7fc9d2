"""Tests of URLs on a shard, each in a process of its own and a few at once."""

from __future__ import annotations

import asyncio

from pipeline.cameras import TooManyTests
from pipeline.network.redaction import REDACTOR
from pipeline.network.tls import TlsRules
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.probe import ProbeResult
from pipeline.workers import isolated_probe

_MAX_TESTS = 2


class UrlTests:
    """The tests that one shard runs."""

    def __init__(self, ingest: IngestConfig) -> None:
        self._ingest = ingest
        self._num_running = 0

    async def run(self, url: str, tls: TlsRules) -> ProbeResult:
        """See Shard.test_camera. Raises TooManyTests."""
        if self._num_running >= _MAX_TESTS:
            text = f"this shard tests {self._num_running} URLs already (at most {_MAX_TESTS} at once); try again"
            raise TooManyTests(text)
        self._num_running += 1
        try:
            with REDACTOR.remembering(url):
                return await asyncio.to_thread(isolated_probe.probe_url, url, self._ingest, tls)
        finally:
            self._num_running -= 1
