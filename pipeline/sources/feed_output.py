"""The clips, losses and states of a feed on their way out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import structlog

from pipeline.cameras import CameraState, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_queue import ClipSink
from pipeline.sources.clips import Clip
from pipeline.sources.frame_times import FrameTimes
from pipeline.sources.picture_watch import PictureWatch

log = structlog.get_logger(__name__)

_TROUBLES = frozenset({CameraState.STALLED, CameraState.BACKING_OFF, CameraState.FAILED})
OnState = Callable[[CameraState, str, SourceReason | None, PictureNote | None], None]


class FeedOutput:
    """Nothing passes once `stop` has returned. Belongs to the feed's thread, `stop` aside, which sets `stopped`.

    A clip leaves with Unix times, and states are reported and logged when they change.
    """

    def __init__(self, camera: str, camera_id: str, clips: ClipSink, times: FrameTimes, on_state: OnState) -> None:
        """camera: its name. camera_id: whose clips they are in the queue. on_state: see CameraFeed."""
        self._camera, self._camera_id = camera, camera_id
        self._clips, self._times, self._on_state = clips, times, on_state
        self._watch = PictureWatch()
        self._last_report: tuple[CameraState, str, PictureNote | None, str] | None = None
        self.stopped = threading.Event()
        self._passing = threading.Lock()  # held while something passes, so that `stop` waits for it

    def stop(self) -> None:
        """Ends every wait too. Does not block but for what passes at the moment."""
        with self._passing:
            self.stopped.set()

    def wait(self, seconds: float) -> bool:
        """Sleeps for so many seconds, if positive; returns whether it is stopped."""
        return self.stopped.wait(seconds) if seconds > 0 else self.stopped.is_set()

    def put(self, clip: Clip, *, can_wait: bool) -> int:
        """Queues a clip; how many older frames were lost for it. can_wait: blocks until there is space for it."""
        self._watch.look_at(clip)
        while can_wait and not self._clips.wait_for_space(self._camera_id, timeout_s=0.2):
            if self.stopped.is_set():
                return 0
        with self._passing:
            clip = self._times.date(dataclasses.replace(clip, camera=self._camera_id))
            return 0 if self.stopped.is_set() else self._clips.put(clip)

    def count_dropped(self, frames: int) -> None:
        """Counts sampled frames that were lost before they became a clip."""
        with self._passing:
            if not self.stopped.is_set():
                self._clips.count_dropped(self._camera_id, frames)

    def report(
        self, state: CameraState, detail: str = "", reason: SourceReason | None = None, *, next_step: str = ""
    ) -> None:
        """Reports each change to `on_state`; `next_step` follows the detail. Of it alone no change is logged."""
        with self._passing:
            note = self._watch.note if state is CameraState.LIVE else None
            report = (state, detail, note, next_step)
            if self.stopped.is_set() or self._last_report == report:
                return
            if self._last_report is None or self._last_report[:3] != report[:3]:
                tell = log.warning if state in _TROUBLES or note else log.info
                tell("camera_state", camera=self._camera, state=state, reason=reason or note or "", detail=detail)
            self._last_report = report
            self._on_state(state, "; ".join(filter(None, (detail, next_step))), reason, note)
