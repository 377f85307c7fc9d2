"""Adds up what the memories of one shard's cameras report: each camera's figures end with it, the shard's go on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from actors.shard.shard_counts import FrameCounts
from cache_store.gap import Gap, GapReason
from pipeline.cameras import CameraState
from pipeline.memory_status import MemoryStatus

_OTHER = "other"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A memory's figures when they were last added, and the end of the newest gap among them."""

    memory: MemoryStatus
    newest_gap_s: float


class FrameCounter:
    """What the shard's cameras have done since the process started.

    A figure that is lower than before, e.g. after a memory was erased, counts from 0.
    """

    def __init__(self) -> None:
        self._dropped = dict.fromkeys((state.value for state in CameraState), 0)
        self._gaps = dict.fromkeys(_labels(), 0)
        self._gap_s = dict.fromkeys(_labels(), 0.0)
        self._sums: Counter[str] = Counter()
        self._ingest_s = 0.0
        self._upkeep_s = 0.0
        self._seen: dict[str, _Seen] = {}

    def begin(self, camera_id: str, memory: MemoryStatus) -> None:
        """Takes a memory over as it is: what happened before does not count."""
        self._seen[camera_id] = _Seen(memory, max((gap.end_s for gap in _ended(memory)), default=-math.inf))

    def end(self, camera_id: str) -> None:
        """Forgets a camera."""
        self._seen.pop(camera_id, None)

    def add(self, camera_id: str, state: CameraState, memory: MemoryStatus) -> None:
        """Adds what happened to a camera since the last call. state: of the camera, now."""
        seen = self._seen.get(camera_id)
        if seen is None:
            return
        before = seen.memory
        self._dropped[state.value] += int(_more(memory.frames_dropped, before.frames_dropped))
        for name in ("frames_seen", "tokens_read", "tokens_skipped", "compactions"):
            self._sums[name] += int(_more(getattr(memory, name), getattr(before, name)))
        self._ingest_s += _more(memory.ingest_s, before.ingest_s)
        self._upkeep_s += _more(memory.upkeep_s, before.upkeep_s)
        for gap in _ended(memory):
            if gap.end_s > seen.newest_gap_s:
                self._gaps[_label(gap)] += 1
                self._gap_s[_label(gap)] += gap.end_s - gap.start_s
        self.begin(camera_id, memory)

    def counts(self) -> FrameCounts:
        """An immutable copy."""
        return FrameCounts(
            read=self._sums["frames_seen"],
            dropped=dict(self._dropped),
            gaps=dict(self._gaps),
            gap_s=dict(self._gap_s),
            tokens_read=self._sums["tokens_read"],
            tokens_skipped=self._sums["tokens_skipped"],
            compactions=self._sums["compactions"],
            ingest_s=self._ingest_s,
            upkeep_s=self._upkeep_s,
        )


def _ended(memory: MemoryStatus) -> list[Gap]:
    """The gaps after which a frame was seen."""
    return [gap for gap in memory.gaps if memory.newest_s is not None and gap.end_s <= memory.newest_s]


def _more(now: float, before: float) -> float:
    return now - before if now >= before else now


def _labels() -> list[str]:
    return [*(reason.name.lower() for reason in GapReason), _OTHER]


def _label(gap: Gap) -> str:
    """The reason as one of a few words, whatever text an older version wrote."""
    return GapReason(gap.reason).name.lower() if gap.reason in set(GapReason) else _OTHER
