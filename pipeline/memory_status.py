"""A camera's memory as the operator sees it."""

from __future__ import annotations

from dataclasses import dataclass

from cache_store.gap import Gap


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatus:
    """One camera's memory in numbers. Token counts are summed over all layers, except those of frames.

    tokens_read, tokens_skipped: tokens of frames that were appended, and those that the gate left out, since the
    process started, in one layer. ingest_s, upkeep_s: device time for them, and for scoring and compaction,
    which is part of it. compactions: so far. nbytes: size of the memory slot. checkpointed_s: time of the newest
    checkpoint.
    """

    frames_seen: int = 0
    frames_dropped: int = 0
    tokens_read: int = 0
    tokens_skipped: int = 0
    ingest_s: float = 0.0
    upkeep_s: float = 0.0
    compactions: int = 0
    prefix_tokens: int = 0
    summary_tier_tokens: int = 0
    recent_window_tokens: int = 0
    nbytes: int = 0
    thumbnails: int = 0
    thumbnail_nbytes: int = 0
    next_position: int = 0
    oldest_s: float | None = None
    newest_s: float | None = None
    checkpointed_s: float | None = None
    gaps: tuple[Gap, ...] = ()
