"""The times of which one camera's memory has no frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cache_store.gap import Gap, GapReason
from pipeline.sources.clips import Clip

_MAX_GAPS = 32
_LONGEST_STEP = 1.5  # of the time between two samples: a longer step lacks a frame


class GapLog:
    """The newest gaps of a camera.

    gap_after_s: more time than this between two frames is a gap, and less where frames are known to be lost.
    """

    def __init__(self, gap_after_s: float) -> None:
        self._gap_after_s = gap_after_s
        self._gaps: deque[Gap] = deque(maxlen=_MAX_GAPS)
        self._open: Gap | None = None  # it lasts until the next frame

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The newest last; one that has not ended yet is among them as far as it is known."""
        is_known = self._open is not None and self._open.end_s > self._open.start_s
        return (*self._gaps, self._open) if self._open is not None and is_known else tuple(self._gaps)

    def begin_with(self, gap: Gap) -> None:
        """Begins with a gap, before any frame, that lasts until the first one."""
        is_long = gap.end_s - gap.start_s > self._gap_after_s
        self._open = gap if is_long else replace(gap, end_s=gap.start_s)

    def restore(self, gaps: Iterable[Gap], since_s: float | None) -> None:
        """Puts gaps of a checkpoint back. since_s: what comes after this time, up to the next frame, is missing too."""
        self._gaps.extend(gaps)
        if since_s is not None:
            self._open = Gap(since_s, since_s, GapReason.RESTORED)

    def lose(self, lost_s: Sequence[float], newest_s: float | None) -> None:
        """Notes that the device failed at frames of these times; the gap lasts until the next frame.

        newest_s: the time of the newest frame before them.
        """
        if lost_s and self._open is not None:
            self._open = replace(self._open, end_s=lost_s[-1])
        elif lost_s:
            since_s = lost_s[0] if newest_s is None else newest_s
            self._open = Gap(since_s, lost_s[-1], GapReason.DEVICE_FAILED)

    def note(self, clip: Clip, newest_s: float | None) -> None:
        """Notes the gaps before and between the frames of a clip. newest_s: the time of the newest frame before it."""
        before = self._open.start_s if self._open is not None else newest_s
        lost_before = clip.lost_before or ("",) * len(clip.times_s)
        for time_s, lost in zip(clip.times_s, lost_before, strict=True):
            reason = self._open.reason if self._open is not None else lost
            # Where frames are known to be lost, one frame that is due and missing is a gap.
            longest_s = _LONGEST_STEP * clip.period_s
            longest_s = longest_s if reason else max(longest_s, self._gap_after_s)
            if lost and clip.has_repeated_times:  # its times do not say how long it was
                longest_s = 0.0
            if before is not None and time_s - before > longest_s:
                self._gaps.append(Gap(before, time_s, reason or GapReason.NO_FRAMES))
            before, self._open = time_s, None
