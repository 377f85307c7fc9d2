"""How long a feed waits before it opens its source again."""

from __future__ import annotations

import tenacity

from pipeline.cameras import SourceInvalid, SourceReason
from pipeline.sources.ingest_config import IngestConfig
from pipeline.utc_text import utc_text

# Retried slowly: many cameras lock out a client that retries often, and only people can correct these.
_SLOW = frozenset({SourceReason.UNAUTHORIZED, SourceReason.FORBIDDEN, SourceReason.REDIRECTED})


def error_of(retry: tenacity.RetryCallState) -> BaseException | None:
    """Why the last try failed."""
    return retry.outcome.exception() if retry.outcome else None


def is_not_a_camera(error: BaseException | None, *, was_live: bool) -> bool:
    """Whether a URL gives no video and never gave any to its feed."""
    return error is not None and isinstance(error.__cause__, SourceInvalid) and not was_live


def next_step(retry: tenacity.RetryCallState, now_s: float) -> str:
    """Which try comes next, and when, so that it stays true however late it is read. now_s: Unix time."""
    return f"try {retry.attempt_number + 1} at {utc_text(now_s + retry.upcoming_sleep)}"


def pause_s(retry: tenacity.RetryCallState, config: IngestConfig, *, jitter_s: float, was_live: bool) -> float:
    """Seconds until the next try. was_live: whether the feed had video of its URL before."""
    backoff_s = tenacity.wait_exponential_jitter(
        max=config.last_retry_s, multiplier=config.first_retry_s, jitter=jitter_s
    )(retry)
    error = error_of(retry)
    is_slow = getattr(error, "reason", None) in _SLOW or is_not_a_camera(error, was_live=was_live)
    return max(config.refused_retry_s if is_slow else 0.0, backoff_s)
