"""The log lines of one worker on their way into the log of its shard: bounded, because a stream may cause them."""

from __future__ import annotations

import structlog

from pipeline.workers.messages import Logged
from pipeline.workers.token_bucket import TokenBucket

log = structlog.get_logger(__name__)

LINES_PER_S, MAX_LINES_AT_ONCE = 5.0, 200  # of one worker, which may have many cameras
MAX_LINE = 6_000  # characters of all fields: a trace, and what stands beside it


class WorkerLog:
    """Passes lines on, as many as are allowed and no longer than MAX_LINE, and says how many it left out."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(LINES_PER_S, MAX_LINES_AT_ONCE)
        self._left_out = 0

    def add(self, line: Logged, now_s: float) -> None:
        """Passes a line on, or counts it."""
        self.tick(now_s)
        if self._left_out or not self._bucket.take(now_s):
            self._left_out += 1
            return
        getattr(log, line.level)(line.event, **_shortened(line.fields))

    def tick(self, now_s: float) -> None:
        """Says how many lines were left out, once a line is allowed again."""
        if self._left_out and self._bucket.take(now_s):
            log.warning("ingest_worker_lines_left_out", lines=self._left_out, limit=f"{LINES_PER_S:g} a second")
            self._left_out = 0


def _shortened(fields: dict[str, bool | int | float | str | None]) -> dict[str, bool | int | float | str | None]:
    """The fields, their texts cut where the line would be too long."""
    left, shortened = MAX_LINE, {}
    for key, value in fields.items():
        if isinstance(value, str):
            value = value if len(value) <= left else f"{value[:left]}[{len(value) - left} characters left out]"
            left = max(0, left - len(value))
        shortened[key] = value
    return shortened
